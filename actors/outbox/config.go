package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Config of a Worker. Outbox and Handler are needed.
type Config struct {
	Outbox journal.Outbox
	// Handler carries effects out. The Key of the command is the effect's ID.
	Handler actors.Handler
	// MaxTries after which an effect is parked. Defaults to 10.
	MaxTries int
	// Backoff before the second try. It doubles with every further one, up to MaxBackoff, less up to a half by chance.
	// Defaults to 100 milliseconds and 1 minute.
	Backoff, MaxBackoff time.Duration
	// Concurrency is how many sources are worked on side by side. Defaults to 32.
	Concurrency int
	// Batch is how many effects, and how many settlements, go with one call of the journal. Defaults to 256.
	Batch int
	// Timeout of one try. Defaults to 1 minute.
	Timeout time.Duration
	// Poll is how often the journal is asked when nobody rings. Defaults to 100 milliseconds.
	Poll time.Duration
	// Drain is how long tries may go on after Run or Work were told to stop. Defaults to 8 seconds, -1 cuts them at once.
	Drain time.Duration
	// Observer's functions may each be nil.
	Observer Observer
	// Report, if set, is told of every effect that was parked, and why: to tell whoever can repair it. It must return soon.
	Report func(ctx context.Context, p journal.Pending, why error)
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Observer is told what happens. Its functions are called from many goroutines and must return soon.
type Observer struct {
	// Delivered after an effect was carried out, so long after it was to be for the first time.
	Delivered func(service string, took, since time.Duration)
	// Retried after a try that failed and is to be repeated.
	Retried func(service string, took time.Duration)
	// Parked after an effect was given up.
	Parked func(service string)
	// Due after the journal was asked: how many effects it returned, and how long the oldest of them has been kept.
	Due func(effects int, oldest time.Duration)
}

// The keys of log entries.
const (
	logSource  = "source"
	logEffect  = "effect"
	logEffects = "effects"
	logTarget  = "target"
	logMethod  = "method"
	logError   = "error"
)

// validate fills in the defaults and reports every problem.
func (c *Config) validate() error {
	var problems []error
	if c.Outbox == nil {
		problems = append(problems, errors.New("Outbox is not set"))
	}
	if c.Handler == nil {
		problems = append(problems, errors.New("Handler is not set"))
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
		{"MaxBackoff", &c.MaxBackoff, time.Minute},
		{"Timeout", &c.Timeout, time.Minute},
		{"Poll", &c.Poll, 100 * time.Millisecond},
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
	}{
		{"MaxTries", &c.MaxTries, 10},
		{"Concurrency", &c.Concurrency, 32},
		{"Batch", &c.Batch, 256},
	} {
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
	if c.Report == nil {
		c.Report = func(context.Context, journal.Pending, error) {}
	}
	o := &c.Observer
	if o.Delivered == nil {
		o.Delivered = func(string, time.Duration, time.Duration) {}
	}
	if o.Retried == nil {
		o.Retried = func(string, time.Duration) {}
	}
	if o.Parked == nil {
		o.Parked = func(string) {}
	}
	if o.Due == nil {
		o.Due = func(int, time.Duration) {}
	}
	return errors.Join(problems...)
}
