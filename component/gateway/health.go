package gateway

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health is grpc.health.v1: a service is serving while the catalog has it, and the empty name while there is a catalog.
type health struct {
	healthpb.UnimplementedHealthServer
	g *Gateway

	mu      sync.Mutex
	stopped bool
	change  chan struct{} // closed on the next one
}

func newHealth(g *Gateway) *health { return &health{g: g, change: make(chan struct{})} }

func (h *health) register(s *grpc.Server) { healthpb.RegisterHealthServer(s, h) }

func (h *health) changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.change)
	h.change = make(chan struct{})
}

func (h *health) stop() {
	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	h.changed()
}

// status is what is known of a service, whether Run is stopping, and what tells of the next change.
func (h *health) status(service string) (st healthpb.HealthCheckResponse_ServingStatus, stopped bool, change <-chan struct{}) {
	h.mu.Lock()
	stopped, change = h.stopped, h.change
	h.mu.Unlock()
	r := h.g.routes.Load()
	known := service == ""
	if r != nil && !known {
		s, ok := r.catalog.Service(service)
		known = ok && s.Name == service
	}
	switch {
	case !known && r != nil:
		st = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	case r == nil || stopped:
		st = healthpb.HealthCheckResponse_NOT_SERVING
	default:
		st = healthpb.HealthCheckResponse_SERVING
	}
	return st, stopped, change
}

// Check implements grpc.health.v1.
func (h *health) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	st, _, _ := h.status(r.GetService())
	if st == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Errorf(codes.NotFound, "there is no service %q", cut(r.GetService()))
	}
	return &healthpb.HealthCheckResponse{Status: st}, nil
}

// Watch implements grpc.health.v1. It ends when the gateway does.
func (h *health) Watch(r *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	last := healthpb.HealthCheckResponse_ServingStatus(-1)
	for {
		st, stopped, change := h.status(r.GetService())
		if st != last {
			last = st
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: st}); err != nil {
				return err
			}
		}
		if stopped {
			return status.Error(codes.Unavailable, "the gateway stops")
		}
		select {
		case <-change:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
