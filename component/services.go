package component

import (
	"context"
	"errors"
	"strings"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/admin"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/gateway"
)

// change takes over what a user function turned out to serve.
func (h *host) change(next *catalog.Catalog, function func(service string) engine.Function) {
	var services []engine.Service
	for _, s := range next.Services() {
		if !s.Kind.Placed() {
			continue
		}
		services = append(services, engine.Service{
			Name: s.Name, Persistence: s.Persistence, Idle: s.Idle, Function: function(s.Name), Whole: s.Kind == actors.Value,
		})
	}
	h.catalog.Store(next)
	h.engine.Serve(services)
	h.replicas.update(next)
	h.actors.Update()
	h.deliveries.update(next)
	h.topics.update(next)
	if h.gateway != nil {
		if err := h.gateway.Update(next); err != nil {
			h.log.Error("the gateway goes on with what was served before", keyError, err) // check has let it pass
		}
	}
}

// kind tells dispatch about a service. While no user function is known, every service may be hosted elsewhere.
func (h *host) kind(service string) (actors.Kind, bool) {
	known := h.catalog.Load()
	if known == nil {
		return actors.EventSourced, true
	}
	s, ok := known.Service(service)
	if !ok {
		return 0, false
	}
	return s.Kind, true
}

// services names those that are known.
func (h *host) services() []string {
	var names []string
	if known := h.catalog.Load(); known != nil {
		for _, s := range known.Services() {
			names = append(names, s.Name)
		}
	}
	return names
}

// actorType of a service: as the user function's catalog has it, else as the settings or the service's name say.
func (h *host) actorType(service string) string {
	if known := h.catalog.Load(); known != nil {
		if s, ok := known.Service(service); ok {
			return s.ActorType
		}
	}
	if name, ok := h.settings.ActorTypes[service]; ok {
		return name
	}
	return service[strings.LastIndexByte(service, '.')+1:]
}

// streamed tells dispatch whether a method of an action takes, and gives, any number of messages.
func (h *host) streamed(service, method string) (in, out bool) {
	if m := h.method(service, method); m != nil {
		return m.StreamedIn, m.StreamedOut
	}
	return false, false
}

// out tells dispatch to which topic a method's replies go.
func (h *host) out(service, method string) string {
	if m := h.method(service, method); m != nil {
		return m.Out
	}
	return ""
}

// method is nil if there is none.
func (h *host) method(service, method string) *catalog.Method {
	known := h.catalog.Load()
	if known == nil {
		return nil
	}
	s, ok := known.Service(service)
	if !ok {
		return nil
	}
	m, err := s.Method(method)
	if err != nil {
		return nil
	}
	return m
}

// check refuses what a part could not serve.
func (h *host) check(next *catalog.Catalog) error {
	problems := []error{checkFeeds(next)}
	if h.gateway != nil {
		problems = append(problems, h.gateway.Check(next))
	}
	return errors.Join(problems...)
}

// outcome finds what came of the command that had a key.
func (h *host) outcome(ctx context.Context, ref actors.Ref, key string) (actors.Outcome, bool, error) {
	known := h.catalog.Load()
	if known == nil {
		return actors.Outcome{}, false, actors.Errorf(actors.Unavailable, "nothing is known of %s yet: no user function was discovered", ref)
	}
	s, ok := known.Service(ref.Service)
	if !ok || !s.Kind.Placed() {
		return actors.Outcome{}, false, actors.Errorf(actors.Unimplemented, "outcomes are kept for entities, and %s is no service of such", ref.Service)
	}
	return engine.Stored(ctx, h.journal, s.Persistence, ref, key)
}

// newGateway is nil if the settings want none.
func newGateway(h *host, m *admin.Metrics) (*gateway.Gateway, error) {
	s := h.settings
	if s.GatewayAddress == "" {
		return nil, nil
	}
	var origins []string
	for origin := range strings.SplitSeq(s.GatewayOrigins, ",") {
		if origin = strings.TrimSpace(origin); origin != "" {
			origins = append(origins, origin)
		}
	}
	return gateway.New(gateway.Config{
		Address: s.GatewayAddress, Commands: h.router, Outcomes: h.outcome, MaxMessage: int(s.MaxMessage),
		DrainTimeout: s.DrainTimeout, Origins: origins, Log: h.log, Observe: m.Called,
	})
}

// landed rings for those who wait for something new in the journal.
func (h *host) landed(events, effects bool) {
	if h.deliveries != nil {
		h.deliveries.landed(events, effects)
	}
	if events && h.subscriptions != nil {
		h.subscriptions.landed()
	}
}
