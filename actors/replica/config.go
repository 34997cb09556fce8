package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Config of a Host. Only Replicas is needed.
type Config struct {
	Replicas Replicas
	// Log defaults to slog.Default().
	Log *slog.Logger
	// Observer's functions may each be nil.
	Observer Observer
	// Leftover carries out the effects of an outcome of c for which nobody waits any more: its caller is gone, or it is
	// what a user function answered to the end of a stream. It is called from many goroutines at once, with ctx ending
	// when the host stops. Defaults to dropping them with a warning.
	Leftover func(ctx context.Context, c actors.Command, o actors.Outcome) error

	// CommandTimeout is the deadline of commands that have none and are not streamed, and the longest one allowed for
	// those. Defaults to 1 minute.
	CommandTimeout time.Duration
	// AnswerTimeout is how long a user function may take for the first answer to a command, or to the cancellation of a
	// streamed one, before its session is ended: until it has answered it is told of no change. Defaults to one and a
	// half times CommandTimeout.
	AnswerTimeout time.Duration
	// ActivationTimeout is for making a copy live and opening its session. Defaults to 1 minute.
	ActivationTimeout time.Duration
	// Stale is how long what others changed may wait for a moment in which nothing is unanswered. After it new commands of
	// the entity are held back, for as long again, to make such a moment. Defaults to 100 ms, -1 never holds back.
	Stale time.Duration
	// Idle is how long an entity stays in memory after its last command, where its service does not say. Defaults to 30
	// seconds.
	Idle time.Duration

	// MaxQueued commands of one entity that wait for their first answer. Defaults to 1,000.
	MaxQueued int
	// MaxInFlight commands of one service that wait for their first answer. Defaults to 10,000.
	MaxInFlight int
	// MaxStreams of one service that are open: streamed commands with an answer. Defaults to 10,000.
	MaxStreams int
	// MaxUnread answers to one streamed command that its caller has not taken. The one after them ends it. Defaults to
	// 256.
	MaxUnread int
	// MaxBuffered bytes of commands, and of answers that were not taken, over all services. A single command is always
	// taken; the answers to one streamed command have a sixteenth of it. Defaults to 256 MiB.
	MaxBuffered int
	// MaxResident idle entities in memory. Defaults to 10,000, -1 keeps none.
	MaxResident int
	// MaxActivations at the same time. Defaults to 64.
	MaxActivations int

	// MaxMessage bytes of a command's, an effect's or an answer's payload. Defaults to 4 MiB.
	MaxMessage int
	// MaxMetadata bytes of the metadata of each of them. Defaults to 64 KiB.
	MaxMetadata int
	// MaxEffects of one answer. Defaults to 100.
	MaxEffects int
}

// The settings that errors name. They are the keys of the component's configuration.
const (
	settingQueued   = "maxQueue"
	settingInFlight = "maxInFlight"
	settingStreams  = "maxStreams"
	settingUnread   = "maxUnread"
	settingBuffered = "maxBytes"
	settingMessage  = "maxMessage"
	settingMetadata = "maxMetadata"
	settingEffects  = "maxEffects"
)

// The keys of log entries.
const (
	logService = "service"
	logID      = "id"
	logMethod  = "method"
	logReason  = "reason"
)

// validate fills in the defaults and reports every problem.
func (c *Config) validate() error {
	var problems []error
	if c.Replicas == nil {
		problems = append(problems, errors.New("Replicas is not set"))
	}
	if c.CommandTimeout == 0 {
		c.CommandTimeout = time.Minute
	}
	if c.Stale == 0 {
		c.Stale = 100 * time.Millisecond
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"CommandTimeout", &c.CommandTimeout, time.Minute},
		{"AnswerTimeout", &c.AnswerTimeout, c.CommandTimeout + c.CommandTimeout/2},
		{"ActivationTimeout", &c.ActivationTimeout, time.Minute},
		{"Idle", &c.Idle, 30 * time.Second},
	} {
		if *d.value < 0 {
			problems = append(problems, fmt.Errorf("%s is %s; it must be positive", d.name, *d.value))
		}
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	for _, n := range []struct {
		name  string
		value *int
		or    int
		least int
	}{
		{"MaxQueued", &c.MaxQueued, 1000, 1},
		{"MaxInFlight", &c.MaxInFlight, 10_000, 1},
		{"MaxStreams", &c.MaxStreams, 10_000, 1},
		{"MaxUnread", &c.MaxUnread, 256, 1},
		{"MaxBuffered", &c.MaxBuffered, 256 << 20, 1},
		{"MaxResident", &c.MaxResident, 10_000, -1},
		{"MaxActivations", &c.MaxActivations, 64, 1},
		{"MaxMessage", &c.MaxMessage, 4 << 20, 1},
		{"MaxMetadata", &c.MaxMetadata, 64 << 10, 1},
		{"MaxEffects", &c.MaxEffects, 100, 1},
	} {
		if *n.value == 0 {
			*n.value = n.or
		}
		if *n.value < n.least {
			problems = append(problems, fmt.Errorf("%s is %d; at least %d is needed", n.name, *n.value, n.least))
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Leftover == nil {
		log := c.Log
		c.Leftover = func(_ context.Context, c actors.Command, o actors.Outcome) error {
			log.Warn("effects of an outcome for which nobody waited were dropped", logService, c.Service, logID, c.ID, logMethod, c.Method, "effects", len(o.Effects))
			return nil
		}
	}
	c.Observer.fill()
	return errors.Join(problems...)
}

// Service is one type of replicated entity.
type Service struct {
	// Name is the service's full name, the Service of its commands' refs.
	Name string
	// Persistence is its name in the journal, the Service of the refs that Replicas gets. Defaults to Name.
	Persistence string
	// Idle defaults to Config.Idle.
	Idle     time.Duration
	Function Function
}

// Reason why an entity left the memory.
type Reason string

// The reasons.
const (
	Idle     Reason = "idle"
	Evicted  Reason = "evicted"
	Replaced Reason = "replaced"
	Deleted  Reason = "deleted"
	Broken   Reason = "broken"
	Diverged Reason = "diverged"
	Stopped  Reason = "stopped"
)

// Observer is told what happens. Its functions are called from many goroutines, must return soon, and must not call the
// host.
type Observer struct {
	// Activated after a session was opened.
	Activated func(service string, took time.Duration)
	// Passivated after a session was closed.
	Passivated func(service string, reason Reason)
	// Answered after the first answer to a command: since it was given to the user function.
	Answered func(service string, took time.Duration)
	// Confirmed after a write was as safe as was asked for, or was not.
	Confirmed func(service string, level Level, ok bool, took time.Duration)
	// Limited when a command was refused, or a stream ended, with the setting of the limit.
	Limited func(service, setting string)
}

// fill gives every function that is nil an empty one.
func (o *Observer) fill() {
	if o.Activated == nil {
		o.Activated = func(string, time.Duration) {}
	}
	if o.Passivated == nil {
		o.Passivated = func(string, Reason) {}
	}
	if o.Answered == nil {
		o.Answered = func(string, time.Duration) {}
	}
	if o.Confirmed == nil {
		o.Confirmed = func(string, Level, bool, time.Duration) {}
	}
	if o.Limited == nil {
		o.Limited = func(string, string) {}
	}
}
