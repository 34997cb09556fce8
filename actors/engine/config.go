package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// Reads says how sure a reply that wrote nothing is.
type Reads uint8

const (
	// Checked reads confirm the head of the entity in the journal before they answer: they are linearizable.
	Checked Reads = iota
	// Cached reads answer from memory: while an entity moves between hosts they may be old.
	Cached
)

// Config of an Engine. Only Journal is needed.
type Config struct {
	Journal journal.Journal
	// Log defaults to slog.Default().
	Log *slog.Logger
	// Observer's functions may each be nil.
	Observer Observer
	// Reads defaults to Checked.
	Reads Reads

	// CommandTimeout is the deadline of commands that have none, and the longest one allowed. Defaults to 1 minute.
	CommandTimeout time.Duration
	// ActivationTimeout is for loading an entity and opening its session. Defaults to 1 minute.
	ActivationTimeout time.Duration
	// AppendTimeout is for one batch in the journal, after which its appends are in doubt. Defaults to 10 seconds.
	AppendTimeout time.Duration
	// Gather is how long a batch of appends may wait for turns in progress to join it, and until it is as large as the
	// batch before, but never longer than the journal took for that one. Defaults to 2 milliseconds, -1 does not wait.
	Gather time.Duration
	// ResolveTimeout is how long to ask a journal about an append in doubt, before the caller is told that nobody
	// knows. Defaults to 30 seconds.
	ResolveTimeout time.Duration
	// Idle is how long an entity stays in memory after its last command, where its service does not say. Defaults to 30
	// seconds.
	Idle time.Duration

	// MaxQueued commands of one entity, waiting or being handled. Defaults to 1,000.
	MaxQueued int
	// MaxInFlight commands of one service. Defaults to 10,000.
	MaxInFlight int
	// MaxBuffered bytes of commands and of what came of them, over all services. A single command is always taken.
	// Defaults to 256 MiB.
	MaxBuffered int
	// MaxResident idle entities in memory. Defaults to 10,000, -1 keeps none.
	MaxResident int
	// MaxActivations at the same time. Defaults to 64.
	MaxActivations int
	// MaxBatch appends, or questions, in one call of the journal. Defaults to 256.
	MaxBatch int
	// MaxBatchBytes of the events, snapshots and effects in one batch. A single append is always taken. Defaults to 8 MiB.
	MaxBatchBytes int

	// MaxMessage bytes of a command's, event's, snapshot's or reply's payload. Defaults to 4 MiB.
	MaxMessage int
	// MaxMetadata bytes of a command's metadata. Defaults to 64 KiB.
	MaxMetadata int
	// MaxEvents of one command. Defaults to 1,000.
	MaxEvents int
	// MaxEffects of one command, of all sorts. Defaults to 100.
	MaxEffects int

	// Landed, if set, is called after a batch by which events or effects became durable: a doorbell for those who read
	// them. It may be called once too often, and must not block or call the engine.
	Landed func(events, effects bool)
}

// The settings that errors name. They are the keys of the component's configuration.
const (
	settingQueued   = "maxQueue"
	settingInFlight = "maxInFlight"
	settingBuffered = "maxBytes"
	settingMessage  = "maxMessage"
	settingMetadata = "maxMetadata"
	settingEvents   = "maxEvents"
	settingEffects  = "maxEffects"
)

// The keys of log entries.
const (
	logService = "service"
	logID      = "id"
)

// validate fills in the defaults and reports every problem.
func (c *Config) validate() error {
	var problems []error
	if c.Journal == nil {
		problems = append(problems, errors.New("Journal is not set"))
	}
	if c.Reads > Cached {
		problems = append(problems, fmt.Errorf("Reads is %d", c.Reads))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"CommandTimeout", &c.CommandTimeout, time.Minute},
		{"ActivationTimeout", &c.ActivationTimeout, time.Minute},
		{"AppendTimeout", &c.AppendTimeout, 10 * time.Second},
		{"ResolveTimeout", &c.ResolveTimeout, 30 * time.Second},
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
		{"MaxBuffered", &c.MaxBuffered, 256 << 20, 1},
		{"MaxResident", &c.MaxResident, 10_000, -1},
		{"MaxActivations", &c.MaxActivations, 64, 1},
		{"MaxBatch", &c.MaxBatch, 256, 1},
		{"MaxBatchBytes", &c.MaxBatchBytes, 8 << 20, 1},
		{"MaxMessage", &c.MaxMessage, 4 << 20, 1},
		{"MaxMetadata", &c.MaxMetadata, 64 << 10, 1},
		{"MaxEvents", &c.MaxEvents, 1000, 1},
		{"MaxEffects", &c.MaxEffects, 100, 1},
	} {
		if *n.value == 0 {
			*n.value = n.or
		}
		if *n.value < n.least {
			problems = append(problems, fmt.Errorf("%s is %d; at least %d is needed", n.name, *n.value, n.least))
		}
	}
	if c.Gather == 0 {
		c.Gather = 2 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Landed == nil {
		c.Landed = func(bool, bool) {}
	}
	return errors.Join(problems...)
}

// Service is one type of entity.
type Service struct {
	// Name is the service's full name, the Service of its refs.
	Name string
	// Persistence is its name in the journal. Defaults to Name.
	Persistence string
	// Idle defaults to Config.Idle.
	Idle     time.Duration
	Function Function
	// Whole says that the newest event alone is the state of an entity: its sessions begin with that event, if there is
	// one, and snapshots are not stored.
	Whole bool
}

// Reason why an entity was passivated.
type Reason string

// The reasons.
const (
	Idle      Reason = "idle"
	Evicted   Reason = "evicted"
	Disowned  Reason = "disowned"
	Replaced  Reason = "replaced"
	Restarted Reason = "restarted"
	Broken    Reason = "broken"
	Stopped   Reason = "stopped"
)

// Observer is told what happens. Its functions are called from many goroutines, must return soon, and must not call the
// engine.
type Observer struct {
	// Activated after a session was opened from so many events.
	Activated func(service string, events int, took time.Duration)
	// Passivated after a session was closed.
	Passivated func(service string, reason Reason)
	// Turned after the user function answered a command, or did not.
	Turned func(service string, took time.Duration)
	// Appended after a batch came back from the journal.
	Appended func(appends, events int, took time.Duration)
	// Checked after a batch of questions about heads came back.
	Checked func(questions int, took time.Duration)
	// Conflicted when another instance had written to the entity.
	Conflicted func(service string)
	// Resolved when an append in doubt was found out about: "committed", "absent" or "unknown".
	Resolved func(service, verdict string, took time.Duration)
	// Limited when a command was refused, with the setting of the limit.
	Limited func(service, setting string)
}

// fill gives every function that is nil an empty one.
func (o *Observer) fill() {
	if o.Activated == nil {
		o.Activated = func(string, int, time.Duration) {}
	}
	if o.Passivated == nil {
		o.Passivated = func(string, Reason) {}
	}
	if o.Turned == nil {
		o.Turned = func(string, time.Duration) {}
	}
	if o.Appended == nil {
		o.Appended = func(int, int, time.Duration) {}
	}
	if o.Checked == nil {
		o.Checked = func(int, time.Duration) {}
	}
	if o.Conflicted == nil {
		o.Conflicted = func(string) {}
	}
	if o.Resolved == nil {
		o.Resolved = func(string, string, time.Duration) {}
	}
	if o.Limited == nil {
		o.Limited = func(string, string) {}
	}
}
