package kin

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
)

const (
	// soon is when a host reports after something has changed: placement needs a moment to settle, and daprd makes
	// others wait for a lookup that fails.
	soon = time.Second
	// callTimeout of a report, and goodbyeTimeout of the last one.
	callTimeout    = 5 * time.Second
	goodbyeTimeout = 500 * time.Millisecond
)

const (
	// hurry is how much more often hosts report that have another journal, or that have something new.
	hurry = 6
	// settling is the number of reports after something has changed of which each comes in a hurry: the answer to the
	// first one names nobody who has not reported yet.
	settling = 2
)

// Kin is one host that compares its journal. It is also the actors at which hosts meet, of the app ids whose actor has
// been placed here. All methods may be called from many goroutines at once.
type Kin struct {
	config  Config
	changed chan struct{}
	reports reports

	mu     sync.Mutex
	rivals map[string]rival // by incarnation
	told   string           // the verdict that was logged last
}

// rival is a host with another journal.
type rival struct {
	name  string
	until time.Time
}

// New makes a Kin that reports nothing before Run.
func New(config Config) (*Kin, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("configure the comparison of journals: %w", err)
	}
	return &Kin{config: config, changed: make(chan struct{}, 1), rivals: make(map[string]rival)}, nil
}

// Run reports until ctx ends, and takes its report back then. It is called once.
func (k *Kin) Run(ctx context.Context) error {
	retry, last, warned := soon, time.Now(), false
	unsettled := settling
	for {
		wait := soon
		if k.config.Hosting() == nil {
			pace := k.pace(unsettled > 0)
			err := k.compare(ctx, callTimeout, k.validity(pace))
			switch {
			case ctx.Err() != nil:
			case err == nil:
				unsettled--
				// Never later than the report promises.
				wait, retry, last, warned = min(pace, k.pace(false)), soon, time.Now(), false
			default:
				unsettled = settling
				wait, retry = retry, min(2*retry, k.config.Interval)
				k.config.Log.Debug("compare journals", "error", err, "retry", wait)
				// Longer than a start or a rebalance takes.
				if !warned && time.Since(last) > 2*k.config.Interval {
					k.config.Log.Warn("this host's journal cannot be compared with those of other hosts", "error", err)
					warned = true
				}
			}
		} else {
			unsettled, last = settling, time.Now()
		}
		k.tell()
		if k.pause(ctx, wait) {
			unsettled = settling
		}
		if ctx.Err() != nil {
			k.leave(context.WithoutCancel(ctx))
			return nil //nolint:nilerr // the end of ctx is what Run waits for
		}
	}
}

// pause waits, with jitter, until ctx ends or something changes, which it reports.
func (k *Kin) pause(ctx context.Context, wait time.Duration) (changed bool) {
	timer := time.NewTimer(time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64())))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return false
	case <-k.changed:
	}
	timer.Reset(soon)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return true
}

func (k *Kin) change() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// leave takes the report back, lest the successor of this process is compared with it.
func (k *Kin) leave(ctx context.Context) {
	if k.config.Hosting() != nil {
		return
	}
	if err := k.compare(ctx, goodbyeTimeout, 0); err != nil {
		k.config.Log.Debug("take back the report of the journal", "error", err)
	}
}

// compare reports and takes over what the answer says.
func (k *Kin) compare(ctx context.Context, timeout, valid time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	app, err := k.config.AppID(ctx)
	if err != nil {
		return err
	}
	journal, err := k.config.Journal(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(report{
		Incarnation: k.config.Incarnation, Name: k.config.Name, Journal: journal, Valid: valid.Milliseconds(),
	})
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	outcome, err := k.config.Remote.Handle(ctx, actors.Command{
		Ref: actors.Ref{Service: k.config.ActorType, ID: app}, Method: method, Deadline: deadline,
		Payload: actors.Payload{ContentType: contentType, Data: data},
	})
	switch {
	case err != nil:
		return err
	case outcome.Failure != nil:
		return outcome.Failure
	case outcome.Reply == nil:
		return fmt.Errorf("the actor %s/%s answered nothing", k.config.ActorType, app)
	}
	var a answer
	if err := json.Unmarshal(outcome.Reply.Data, &a); err != nil {
		return fmt.Errorf("the answer of the actor %s/%s: %w", k.config.ActorType, app, err)
	}
	k.learn(a)
	return nil
}

// learn remembers the rivals of an answer for as long as their reports are good. That one is missing says nothing: the
// actor may have moved, and the rival not have reported to its new place.
func (k *Kin) learn(a answer) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range a.Rivals[:min(len(a.Rivals), maxRivals)] {
		if r.check() == nil {
			k.rivals[r.Incarnation] = rival{r.Name, now.Add(time.Duration(r.Valid) * time.Millisecond)}
		}
	}
}

// names of the rivals, those forgotten whose time is over.
func (k *Kin) names() []string {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for incarnation, r := range k.rivals {
		if now.After(r.until) {
			delete(k.rivals, incarnation)
			continue
		}
		names = append(names, r.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Ready is nil unless a host of the same app id has another journal. Then it names both hosts.
func (k *Kin) Ready() error {
	names := k.names()
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("hosts of one app id have different journals: this one, %s, and %s; entities that move from one to "+
		"the other lose their past there: run a single host (stop the old one before a new one starts), or give all hosts "+
		"one PostgreSQL database as their journal", k.config.Name, strings.Join(names, ", and "))
}

// pace is the time between two reports.
func (k *Kin) pace(unsettled bool) time.Duration {
	if unsettled || len(k.names()) > 0 {
		return k.config.Interval / hurry
	}
	return k.config.Interval
}

// validity is how long a report is good for whose successor comes after pace: until then, until a rival has asked for
// it, and for a while in which the actor may be on the move.
func (k *Kin) validity(pace time.Duration) time.Duration { return pace + 3*k.config.Interval/hurry }

// tell logs a verdict that has changed.
func (k *Kin) tell() {
	verdict := ""
	err := k.Ready()
	if err != nil {
		verdict = err.Error()
	}
	k.mu.Lock()
	before := k.told
	k.told = verdict
	k.mu.Unlock()
	switch {
	case verdict == before:
	case err != nil:
		k.config.Log.Error("another host has another journal", "error", err)
	default:
		k.config.Log.Info("all hosts of this app id have the same journal again")
	}
}
