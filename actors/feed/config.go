package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// From says where a consumer begins that has no cursor yet.
type From uint8

const (
	// Beginning of the journal.
	Beginning From = iota
	// Now skips what was there before.
	Now
)

// Config of a Consumer. Tailer, Cells, Group, Service and Handle are needed.
type Config struct {
	Tailer journal.Tailer
	Cells  journal.Cells
	// Group names who consumes, and has a cursor for each service. 1 to MaxGroupBytes bytes of UTF-8.
	Group string
	// Service is the persistence id of the events. 1 to MaxGroupBytes bytes of UTF-8.
	Service string
	// Handle is given every event at least once. It may be called from many goroutines at once, for one entity from one
	// at a time. An error with a code that is actors.Code.Lasting parks the event at once, any other one after MaxTries.
	Handle func(ctx context.Context, e journal.Event) error
	// From defaults to Beginning.
	From From
	// MaxTries after which an event is parked. Defaults to 10.
	MaxTries int
	// Backoff before the second try. It doubles with every further one, up to MaxBackoff, less up to a half by chance.
	// Defaults to 100 milliseconds and 30 seconds.
	Backoff, MaxBackoff time.Duration
	// Timeout of one try. Defaults to 1 minute.
	Timeout time.Duration
	// Concurrency is how many entities are worked on side by side. Defaults to 16.
	Concurrency int
	// Batch is how many events are read at once. Four batches may be in memory. Defaults to 256.
	Batch int
	// Poll is how often the journal is asked when nobody rings. Defaults to 100 milliseconds.
	Poll time.Duration
	// Save is how long what is handled may wait until the cursor tells, while more is coming. Defaults to 1 second.
	Save time.Duration
	// Drain is how long tries may go on after Run was told to stop. Defaults to 8 seconds, -1 cuts them at once.
	Drain time.Duration
	// Observer's functions may each be nil.
	Observer Observer
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// MaxGroupBytes is the longest group and the longest service.
const MaxGroupBytes = 128

// Observer is told what happens. Its functions are called from many goroutines and must return soon.
type Observer struct {
	// Handled after an event was handled.
	Handled func(took time.Duration)
	// Retried after a try that failed and is to be repeated.
	Retried func(took time.Duration)
	// Parked after an event was given up.
	Parked func()
	// Moved after the cursor was saved, with the age of the oldest event that is read and neither handled nor parked.
	Moved func(to journal.Position, lag time.Duration)
	// Blocked with what holds the journal's order up; empty when nothing does any more.
	Blocked func(by string)
}

// The keys of log entries.
const (
	logGroup    = "group"
	logService  = "service"
	logID       = "id"
	logSequence = "sequence"
	logError    = "error"
)

// validate fills in the defaults and reports every problem.
func (c *Config) validate() error {
	var problems []error
	if c.Tailer == nil {
		problems = append(problems, errors.New("Tailer is not set"))
	}
	if c.Cells == nil {
		problems = append(problems, errors.New("Cells is not set"))
	}
	if c.Handle == nil {
		problems = append(problems, errors.New("Handle is not set"))
	}
	if c.From > Now {
		problems = append(problems, fmt.Errorf("From is %d", c.From))
	}
	for _, s := range []struct{ name, value string }{{"Group", c.Group}, {"Service", c.Service}} {
		if s.value == "" || len(s.value) > MaxGroupBytes || !utf8.ValidString(s.value) || strings.Contains(s.value, "\x00") {
			problems = append(problems, fmt.Errorf("%s is %.40q; 1 to %d bytes of UTF-8 without zero bytes are needed", s.name, s.value, MaxGroupBytes))
		}
	}
	if c.Drain == -1 {
		c.Drain = 1
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"Backoff", &c.Backoff, 100 * time.Millisecond},
		{"MaxBackoff", &c.MaxBackoff, 30 * time.Second},
		{"Timeout", &c.Timeout, time.Minute},
		{"Poll", &c.Poll, 100 * time.Millisecond},
		{"Save", &c.Save, time.Second},
		{"Drain", &c.Drain, 8 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
		if *d.value < 0 {
			problems = append(problems, fmt.Errorf("%s is %s; it must be positive", d.name, *d.value))
		}
	}
	if c.MaxBackoff < c.Backoff {
		problems = append(problems, fmt.Errorf("MaxBackoff is %s, which is less than Backoff, %s", c.MaxBackoff, c.Backoff))
	}
	for _, n := range []struct {
		name  string
		value *int
		or    int
	}{{"MaxTries", &c.MaxTries, 10}, {"Concurrency", &c.Concurrency, 16}, {"Batch", &c.Batch, 256}} {
		if *n.value == 0 {
			*n.value = n.or
		}
		if *n.value < 1 {
			problems = append(problems, fmt.Errorf("%s is %d; at least 1 is needed", n.name, *n.value))
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = c.Log.With(logGroup, c.Group)
	c.Observer.fill()
	return errors.Join(problems...)
}

func (o *Observer) fill() {
	if o.Handled == nil {
		o.Handled = func(time.Duration) {}
	}
	if o.Retried == nil {
		o.Retried = func(time.Duration) {}
	}
	if o.Parked == nil {
		o.Parked = func() {}
	}
	if o.Moved == nil {
		o.Moved = func(journal.Position, time.Duration) {}
	}
	if o.Blocked == nil {
		o.Blocked = func(string) {}
	}
}

// part of a key: no slash in it ends it early.
func part(s string) string { return actors.EscapeID(s) }
