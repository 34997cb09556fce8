package actorhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// Host hosts the entities of the catalog's placed and replicated services as Dapr actors.
type Host interface {
	// Run hosts until ctx ends, through every loss of the sidecar. It returns nil then, and never before. It is
	// called once.
	Run(ctx context.Context) error
	// Update says that the catalog has changed. It returns at once; actor types that changed are registered anew.
	Update()
	// Ready is nil while Dapr can reach the entities, and while there is nothing to host; else it says why not.
	Ready() error
}

// Entities are the entities behind a host. All methods may be called from many goroutines at once; all but Handle
// return at once.
type Entities interface {
	// Own says that Dapr has placed the entity here. It is called before every command, so mostly it says nothing new.
	Own(actors.Ref)
	// Disown says that the entity may be placed elsewhere from now on. A command may be running.
	Disown(actors.Ref)
	// DisownAll disowns everything: the sidecar has let go of all entities.
	DisownAll()
	// Handle carries out a command on this node. Its context ends when nobody can get the answer any more.
	Handle(context.Context, actors.Command) (actors.Outcome, error)
}

// Config of a host. Catalog and Entities are needed, and Dial by a stream.
type Config struct {
	// Dial opens a connection to the sidecar's gRPC API. The host closes it, and uses it for nothing but the stream.
	Dial func() (*grpc.ClientConn, error)
	// Catalog returns the services of the moment. It may return nil: there is nothing to host yet.
	Catalog func() *catalog.Catalog
	// Entities carry out the commands of placed services.
	Entities Entities
	// Replicated carries out the commands of replicated services with all that follows from them, on whichever host Dapr
	// chooses. Nobody owns such an entity. Defaults to not hosting them.
	Replicated actors.Handler
	// Reserved are actor types of the component itself, which no catalog has. They are registered beside those of the
	// catalog, never alone. Their commands go where the type says as they are: the service of the Ref is the actor type,
	// any method is good, and payloads are not translated.
	Reserved map[string]Entities
	// Finish does what follows from an outcome of a command of the catalog's services, effects and a forward, for callers
	// who do not know outcomes, and returns what they are told. It runs inside the entity's turn in daprd, which lets in
	// no other command meanwhile: it must not send one there. Without it forwards are refused.
	Finish func(context.Context, actors.Command, actors.Outcome) (actors.Outcome, error)

	// IdleTimeout after which daprd deactivates an entity, counted from the start of its last turn: a longer turn is
	// cancelled. It bounds what is owned, not what is in memory. Defaults to 1 h.
	IdleTimeout time.Duration
	// DrainTimeout is how long daprd lets turns finish when entities move to another host. After it, daprd runs their
	// commands once more, which the journal makes harmless. A long one is not: a call that came before its type was
	// registered (after every loss of the stream there are such calls) counts as a turn that does not finish, because
	// daprd 1.18 leaks the claim of a failed lookup, so the type is out of reach for the whole timeout. And at 8 s
	// placement drops the sidecar, over and over. Defaults to 2 s, at most 7 s.
	DrainTimeout time.Duration
	// StopTimeout is how long Run goes on answering the commands in flight when it is stopped, while it refuses new
	// ones. Defaults to 5 s; -1 does not wait.
	StopTimeout time.Duration
	// MaxInFlight is the number of commands handled at once. More are refused. Defaults to 4096.
	MaxInFlight int
	// MaxReply is the largest answer in bytes, metadata included. A larger one is replaced by an error: on the stream
	// it would end the stream, and with it the ownership of every entity. Defaults to 4 MiB less 64 KiB, which daprd's
	// default --max-body-size lets through on every hop.
	MaxReply int
	// Observe, if set, is told when the sidecar has registered the stream, and when that is over.
	Observe func(up bool)
	// Log defaults to slog.Default().
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	c.IdleTimeout = cmp.Or(c.IdleTimeout, time.Hour)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 2*time.Second)
	c.StopTimeout = cmp.Or(c.StopTimeout, 5*time.Second)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 4096)
	c.MaxReply = cmp.Or(c.MaxReply, 4<<20-64<<10)
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.Observe == nil {
		c.Observe = func(bool) {}
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	need := func(name string, there bool) {
		if !there {
			errs = append(errs, fmt.Errorf("%s is not set", name))
		}
	}
	need("Catalog", c.Catalog != nil)
	need("Entities", c.Entities != nil)
	if c.IdleTimeout < time.Second {
		errs = append(errs, fmt.Errorf("the idle timeout %v is shorter than 1 s", c.IdleTimeout))
	}
	if c.DrainTimeout < 0 || c.DrainTimeout > maxDrainTimeout {
		errs = append(errs, fmt.Errorf("the drain timeout %v is not between 0 and %v", c.DrainTimeout, maxDrainTimeout))
	}
	if c.MaxInFlight < 1 {
		errs = append(errs, fmt.Errorf("the number of commands in flight, %d, is less than 1", c.MaxInFlight))
	}
	if c.MaxReply < minReply {
		errs = append(errs, fmt.Errorf("the largest reply, %d bytes, is less than %d", c.MaxReply, minReply))
	}
	return errors.Join(errs...)
}

// maxDrainTimeout is below the 8 s after which placement drops a sidecar that drains.
const maxDrainTimeout = 7 * time.Second

// minReply leaves room for every failure: see maxText.
const minReply = 64 << 10

// hosted are the entities of a service; nil for those that are no actors.
func (c Config) hosted(s *catalog.Service) Entities {
	switch {
	case s.Kind.Placed():
		return c.Entities
	case s.Kind == actors.Replicated && c.Replicated != nil:
		return everywhere{c.Replicated}
	default:
		return nil
	}
}

// everywhere is for entities that nobody owns.
type everywhere struct{ actors.Handler }

func (everywhere) Own(actors.Ref)    {}
func (everywhere) Disown(actors.Ref) {}
func (everywhere) DisownAll()        {}

// disownAll says that the sidecar has let go of all entities.
func (c *Config) disownAll() {
	c.Entities.DisownAll()
	for _, reserved := range c.Reserved {
		reserved.DisownAll()
	}
}

// actorTypes are the actor types of the services that are hosted and, if there are any, the reserved ones, sorted.
func (c Config) actorTypes() []string {
	known := c.Catalog()
	if known == nil {
		return nil
	}
	var types []string
	for _, s := range known.Services() {
		if c.hosted(s) != nil {
			types = append(types, s.ActorType)
		}
	}
	if len(types) == 0 {
		return nil
	}
	types = slices.AppendSeq(types, maps.Keys(c.Reserved))
	slices.Sort(types)
	return types
}
