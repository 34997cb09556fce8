package component

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/building"
	"github.com/dapr-entities/entities/component/config"
)

// How long between two looks at the sidecar, at first and at most, and how long one look may take.
const (
	lookFirst = 50 * time.Millisecond
	lookLast  = 2 * time.Second
	lookTime  = 2 * time.Second
)

// begin does what can be done without waiting for an Init. What an earlier life of this component was told comes before
// what its flags say, and what the sidecar says comes before both.
func (c *Component) begin(ctx context.Context) error {
	kept, err := c.building.Kept()
	if err != nil {
		c.log.Warn("the last Init cannot be resumed; restart the sidecar if it does not restart by itself", keyError, err)
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	r := resumption{component: c, said: map[string]string{}, watch: func(k building.Kept, settings config.Config) {
		watching.Go(func() { c.abandoned(ctx, k, settings) })
	}}
	kept = r.attempt(ctx, kept)
	if c.config.Standalone && c.host.Load() == nil {
		if err := c.start(ctx, c.settings, false); err != nil && ctx.Err() == nil {
			return err
		}
	}
	for pause := lookFirst; len(kept) > 0; pause = min(2*pause, lookLast) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		kept = r.attempt(ctx, kept)
	}
	return nil
}

// resumption goes on where an earlier life of this component ended. A sidecar does not repeat Init when only its
// component restarts, so the last one is taken from the file in which it was kept, but only if the sidecar still lists
// the component: the file may be older than the sidecar, and a sidecar that is only now starting will say itself what it
// wants.
type resumption struct {
	component *Component
	// said holds the last thing that was logged of each.
	said map[string]string
	// watch what becomes of the subscriptions of a component that was resumed.
	watch func(k building.Kept, settings config.Config)
}

// Why a kept Init is not resumed.
var (
	errSilent  = errors.New("the sidecar does not answer")                                              // yet
	errForeign = errors.New("its sidecar has changed since, and says itself what it wants if anything") // for good
)

// attempt looks once for each and returns those for which it is worth looking again.
func (r *resumption) attempt(ctx context.Context, kept []building.Kept) []building.Kept {
	var again []building.Kept
	for _, k := range kept {
		err := r.one(ctx, k)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if !lasting(err) {
			again = append(again, k)
		}
		if errors.Is(err, errSilent) || r.said[k.String()] == err.Error() {
			continue
		}
		r.said[k.String()] = err.Error()
		r.component.log.Warn("the last Init is not resumed", "component", k.String(), keyError, err)
	}
	return again
}

// lasting tells the errors that time will not cure: a database comes back, a wrong setting does not.
func lasting(err error) bool {
	var e *actors.Error
	return errors.Is(err, errForeign) || errors.As(err, &e) && (e.Code == actors.InvalidArgument || e.Code == actors.FailedPrecondition)
}

func (r *resumption) one(ctx context.Context, k building.Kept) error {
	c := r.component
	if c.building.Initialised(k) {
		return nil // the sidecar has said it again itself
	}
	settings, err := c.building.Settings(k)
	if err != nil {
		return actors.Errorf(actors.InvalidArgument, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	sidecar, err := dial(settings)
	if err != nil {
		return err
	}
	defer sidecar.Close()
	look, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	about, err := sidecar.Metadata(look)
	switch status.Code(err) {
	case codes.OK:
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
		return err
	default:
		return errSilent
	}
	if settings.AppID != "" && settings.AppID != about.AppID {
		return fmt.Errorf("%w: it belongs to the app id %q, and %s is %q's", errForeign, settings.AppID, settings.DaprGRPCEndpoint, about.AppID)
	}
	// By type too: meanwhile the name may have become that of a Redis.
	kind, _, _ := strings.Cut(k.Type, ".")
	if loaded, listed := about.Component(k.Name); !listed || !strings.EqualFold(loaded.Type, kind+"."+c.settings.SocketName) {
		return fmt.Errorf("%w: it does not list the component", errForeign)
	}
	c.log.Info("resuming the sidecar's last Init", "component", k.String())
	if err := c.building.Resume(ctx, k); err != nil {
		return err
	}
	if len(k.Topics) > 0 {
		r.watch(k, settings)
	}
	return nil
}

// How long a sidecar gets to subscribe again before its subscriptions count as abandoned, and how often they are looked
// at. It does not do so for its app, but whoever has a streaming subscription, as this component itself may, makes a new one.
const (
	resubscribe = 5 * time.Second
	lookAgain   = 100 * time.Millisecond
)

// abandoned looks for what a sidecar believes to have subscribed to. It does not notice that the component restarted.
func (c *Component) abandoned(ctx context.Context, k building.Kept, settings config.Config) {
	for end := time.Now().Add(resubscribe); time.Now().Before(end) && len(c.building.Abandoned(k)) > 0; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookAgain):
		}
	}
	topics := c.building.Abandoned(k)
	if len(topics) == 0 {
		return
	}
	log := c.log.With("component", k.String(), "topics", strings.Join(topics, ", "), "sidecar", settings.DaprGRPCEndpoint)
	const what = "the sidecar's subscriptions have ended with the restart of this component, and it does not subscribe again: "
	if settings.OnRestart != config.OnRestartSidecar {
		log.Error(what + "nothing is delivered until the sidecar restarts (onRestart: restartSidecar has that done)")
		return
	}
	log.Warn(what + "it is told to stop, so that it is started again")
	if err := shutDown(ctx, settings); err != nil {
		log.Error("the sidecar was told to stop and refused: restart it", keyError, err)
	}
}

func shutDown(ctx context.Context, settings config.Config) error {
	sidecar, err := dial(settings)
	if err != nil {
		return err
	}
	defer sidecar.Close()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return sidecar.Shutdown(ctx)
}
