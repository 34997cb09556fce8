package actorhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How fast the stream is opened again. While there is none, every actor call of the sidecar waits, so the first attempt
// comes soon.
const (
	retryFirst   = 200 * time.Millisecond
	retryLast    = 5 * time.Second
	retryRefused = 15 * time.Second
)

// patience is how long the sidecar may be away before that is worth a warning: it is away whenever it starts, because it
// loads its components first, and whenever it restarts.
const patience = 10 * time.Second

// Reasons for ending a stream ourselves.
var (
	errStopped = errors.New("the host is stopping")
	errUpdated = errors.New("the actor types have changed")
	errLeaving = errors.New("the sidecar is going away")
	errStuck   = errors.New("the sidecar has stopped reading answers")
	errEnded   = errors.New("the sidecar has ended the stream")
)

var (
	errNotRunning = errors.New("the actor host is not running")
	errConnecting = errors.New("the actor stream is not open yet")
)

// Stream is the host that dials the sidecar: SubscribeActorEventsAlpha1.
type Stream struct {
	config  Config
	log     *slog.Logger
	updated chan struct{}

	mu    sync.Mutex
	ready error

	// What Run knows about the outage of the moment: since when, and what has been said of it.
	since time.Time
	said  string
}

var _ Host = (*Stream)(nil)

// New makes a stream host. Nothing happens before Run.
func New(config Config) (*Stream, error) {
	config = config.withDefaults()
	err := config.validate()
	if config.Dial == nil {
		err = errors.Join(errors.New("Dial is not set"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("configure the actor host: %w", err)
	}
	return &Stream{config: config, log: config.Log, updated: make(chan struct{}, 1), ready: errNotRunning}, nil
}

// Update implements Host.
func (s *Stream) Update() {
	select {
	case s.updated <- struct{}{}:
	default:
	}
}

// Ready implements Host.
func (s *Stream) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

func (s *Stream) setReady(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = err
}

// Run implements Host.
func (s *Stream) Run(ctx context.Context) error {
	// Callbacks may outlive their stream: its end cancels them, but a new stream does not wait for them.
	var callbacks sync.WaitGroup
	defer callbacks.Wait()
	defer s.setReady(errNotRunning)

	retry := retryFirst
	unregistering := false
	for ctx.Err() == nil {
		types := s.config.actorTypes()
		if len(types) == 0 {
			s.setReady(nil)
			select {
			case <-ctx.Done():
			case <-s.updated:
			}
			continue
		}
		if s.Ready() == nil || errors.Is(s.Ready(), errNotRunning) {
			s.setReady(errConnecting)
		}
		registered, err := s.serve(ctx, types, unregistering, &callbacks)
		updated := errors.Is(err, errUpdated)
		unregistering = updated && len(s.config.actorTypes()) > 0
		if registered {
			retry = retryFirst
		}
		if ctx.Err() != nil || updated {
			continue
		}
		wait := jitter(retry)
		retry = min(2*retry, retryLast)
		refusal := refused(err)
		if refusal != nil {
			err, wait = refusal, jitter(retryRefused)
		} else if status.Code(err) == codes.Unavailable && !registered {
			err = fmt.Errorf("%w; is daprd running, and is its gRPC port the one of daprGrpcEndpoint?", err)
		}
		s.setReady(fmt.Errorf("the actor stream is down: %w", err))
		s.warn(err, refusal != nil)
		s.pause(ctx, wait, types)
	}
	return nil
}

// warn says why there is no stream: at once if time will not help, else when it has lasted, and the same thing once.
func (s *Stream) warn(err error, refused bool) {
	if s.since.IsZero() {
		s.since = time.Now()
	}
	if refused || time.Since(s.since) > patience && s.said == "" {
		if text := err.Error(); s.said != text {
			s.said = text
			s.log.Warn("the actor stream is down; trying on", keyError, err)
			return
		}
	}
	s.log.Debug("the actor stream is down", keyError, err)
}

// serve opens one stream and serves it until it ends. Dapr has let go of all entities then.
func (s *Stream) serve(ctx context.Context, types []string, unregistering bool, callbacks *sync.WaitGroup) (
	registered bool, err error,
) {
	n := newSession(s, types, callbacks)
	defer n.close()
	if err := n.open(ctx, unregistering); err != nil {
		return false, err
	}
	s.since, s.said = time.Time{}, ""
	s.log.Info("entities are hosted", keyTypes, types)
	s.config.Observe(true)
	err = n.serve(ctx)
	s.config.Observe(false)
	s.setReady(errConnecting)
	s.config.disownAll()
	s.log.Info("entities are no longer hosted", keyTypes, types, keyReason, err)
	if errors.Is(err, errStopped) || errors.Is(err, errUpdated) && len(s.config.actorTypes()) == 0 {
		if err := n.release(); err != nil {
			s.log.Warn("the sidecar's actor calls may hang until a host registers with it", keyError, err)
		}
	}
	return true, err
}

// pause waits between two attempts. Other types cut it short.
func (s *Stream) pause(ctx context.Context, wait time.Duration, types []string) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-s.updated:
			if !slices.Equal(types, s.config.actorTypes()) {
				return
			}
		}
	}
}

// jitter spreads attempts by a fifth each way.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// refused explains the errors that no retry will cure.
func refused(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return nil
	}
	switch s.Code() {
	case codes.FailedPrecondition:
		return fmt.Errorf("the sidecar refuses the actor stream (%s): run it with no --app-port, or with one of "+
			"--app-protocol grpc; for an app that speaks HTTP, host entities in a sidecar of their own. daprd before "+
			"1.18.2 needs a gRPC app-port in any case; use 1.18.2 or later", s.Message())
	case codes.Unimplemented:
		return fmt.Errorf("the sidecar knows no actor stream (%s): use Dapr 1.18.2 or later, and allow "+
			"SubscribeActorEventsAlpha1 if its configuration lists allowed APIs", s.Message())
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("the sidecar refuses us (%s): give the component its API token in DAPR_API_TOKEN",
			s.Message())
	default:
		return nil
	}
}

// The keys of log entries.
const (
	keyError   = "error"
	keyCause   = "cause"
	keyReason  = "reason"
	keyTypes   = "actor_types"
	keyMethod  = "method"
	keyService = "service"
	keyID      = "id"
	keyKind    = "callback"
)
