package feed

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

// SubscriptionConfig of a Subscription. Tailer, Cells, Group and Sources are needed.
type SubscriptionConfig struct {
	Tailer journal.Tailer
	Cells  journal.Cells
	// Group names who shares the events: all subscriptions of one group to one journal, in however many components, get
	// each event once between them. 1 to MaxGroupBytes bytes of UTF-8.
	Group string
	// Sources of events: persistence ids of services, each of 1 to MaxGroupBytes bytes of UTF-8, or what Resolve
	// understands.
	Sources []string
	// Resolve returns the services that a source means now; there may be more of them later, or none yet. It is asked
	// again now and then. Defaults to the source itself.
	Resolve func(ctx context.Context, source string) ([]string, error)
	// From says where a source begins that is new to the group. It is remembered when the first subscription of the group
	// begins, so one with Now misses nothing that happens afterwards. Defaults to Beginning.
	From From
	// Lanes is how many parts the entities are dealt into, which is as many components as can share the events. What the
	// group's first subscription says holds. 1 to MaxLanes; defaults to 32.
	Lanes int
	// MaxTries after which an event is parked. Defaults to 10.
	MaxTries int
	// Backoff before the second try. It doubles with every further one, up to MaxBackoff, less up to a half by chance.
	// Defaults to 100 milliseconds and 30 seconds.
	Backoff, MaxBackoff time.Duration
	// Timeout of one try. Defaults to 1 minute.
	Timeout time.Duration
	// Concurrency is how many entities a consumer works on side by side, unless it says another number. Defaults to 16.
	Concurrency int
	// Window is how many events may be in memory, and WindowBytes how large their payloads may be together; one event of
	// each lane always may. Default to 8192 and 64 MiB.
	Window, WindowBytes int
	// Batch is how many events are read at once. Defaults to 1024.
	Batch int
	// Poll is how often the journal is asked when nobody rings. Defaults to 100 milliseconds.
	Poll time.Duration
	// Save is how long what is handled may wait until the cursor tells. Defaults to 250 milliseconds.
	Save time.Duration
	// Look is how often Resolve is asked. Defaults to 2 seconds.
	Look time.Duration
	// Drain is how long tries may go on after their consumer or the Subscription was told to stop. Defaults to 8 seconds,
	// -1 cuts them at once. Those of a lane that goes to another component may end in their own time.
	Drain time.Duration
	// LeaseTimeout is how long a component may show no sign of life until others take over what it has. Defaults to 5
	// seconds.
	LeaseTimeout time.Duration
	// Observer's functions may each be nil.
	Observer Observer
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// MaxLanes is the largest number of lanes.
const MaxLanes = 1024

// ErrGone as the error of a handler says that nobody is there to take the event any more. That is no try: the event goes
// to another consumer, or to this one if it stays.
var ErrGone = errors.New("the consumer is gone")

// Subscription shares events out over consumers: those of this process, and those of every other one that has a
// Subscription of the same group to the same journal. See the package. Its methods may be called from many goroutines at
// once.
type Subscription struct {
	config SubscriptionConfig
	leases *lease.Leases
	box    *mailbox
	beside sync.WaitGroup // what the dealer does not wait for
	dealer *dealer        // of Run, before any lane is worked on

	mu      sync.Mutex // guards what follows
	plan    plan       // without lanes before Run knows them
	takers  []*taker
	paused  bool
	changes int
}

// Subscribe makes a Subscription. It hands nothing out before Run and Consume are called.
func Subscribe(config SubscriptionConfig) (*Subscription, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("subscription %.40s: %w", config.Group, err)
	}
	s := &Subscription{config: config, box: newMailbox()}
	var err error
	s.leases, err = lease.New(lease.Config{
		Cells: config.Cells, Group: leaseGroup(config.Group), Member: rand.Text(), Work: s.work,
		TTL: config.LeaseTimeout, Log: config.Log,
	})
	return s, err
}

// leaseGroup names the group among those of lease, whose names are shorter.
func leaseGroup(group string) string {
	name := "subscription." + part(group)
	if len(name) > lease.MaxGroupBytes {
		sum := sha256.Sum256([]byte(group))
		name = "subscription." + hex.EncodeToString(sum[:])
	}
	return name
}

// Run shares events out until ctx ends. Then it begins no further try, waits for those that go on, but no longer than
// Drain, saves the cursors and leaves its lanes to others. It may be called once. A journal that fails does not end it.
func (s *Subscription) Run(ctx context.Context) error { return s.run(ctx) }

// Consume takes part until ctx ends: handle is given events, those of one entity one at a time, and of up to concurrency
// entities side by side; 0 means the config's. Consumers of the process share its lanes evenly. An error with a code that
// is actors.Code.Lasting parks the event at once, any other but ErrGone after MaxTries. When ctx has ended Consume waits
// for the tries that go on, but no longer than Drain, then ends their contexts, and waits for handle to return: until
// then nobody else is given the same entities. It may be called before Run, any number of times.
func (s *Subscription) Consume(ctx context.Context, concurrency int, handle func(ctx context.Context, e journal.Event) error) error {
	return s.consume(ctx, concurrency, handle)
}

// Ring says that there may be something to do. It never waits.
func (s *Subscription) Ring() { s.box.ring() }

// Pause begins no further try in this process and leaves its lanes to others, until Resume.
func (s *Subscription) Pause() { s.pause(true) }

// Resume ends a Pause.
func (s *Subscription) Resume() { s.pause(false) }

func (c *SubscriptionConfig) validate() error {
	var problems []error
	common := Config{
		Tailer: c.Tailer, Cells: c.Cells, Group: c.Group, Service: "-", Handle: func(context.Context, journal.Event) error { return nil },
		From: c.From, MaxTries: c.MaxTries, Backoff: c.Backoff, MaxBackoff: c.MaxBackoff, Timeout: c.Timeout,
		Concurrency: c.Concurrency, Poll: c.Poll, Drain: c.Drain, Observer: c.Observer,
	}
	problems = append(problems, common.validate())
	c.MaxTries, c.Backoff, c.MaxBackoff, c.Timeout = common.MaxTries, common.Backoff, common.MaxBackoff, common.Timeout
	c.Concurrency, c.Poll, c.Drain, c.Observer = common.Concurrency, common.Poll, common.Drain, common.Observer
	if len(c.Sources) == 0 {
		problems = append(problems, errors.New("Sources are not set"))
	}
	for _, source := range c.Sources {
		if source == "" || len(source) > MaxGroupBytes || !utf8.ValidString(source) || strings.Contains(source, "\x00") {
			problems = append(problems, fmt.Errorf("the source %.40q is not 1 to %d bytes of UTF-8 without zero bytes", source, MaxGroupBytes))
		}
	}
	if c.Resolve == nil {
		c.Resolve = func(_ context.Context, source string) ([]string, error) { return []string{source}, nil }
	}
	for _, n := range []struct {
		name     string
		value    *int
		or, most int
	}{
		{"Lanes", &c.Lanes, 32, MaxLanes},
		{"Window", &c.Window, 8192, 1 << 30},
		{"WindowBytes", &c.WindowBytes, 64 << 20, 1 << 30},
		{"Batch", &c.Batch, 1024, 1 << 20},
	} {
		if *n.value == 0 {
			*n.value = n.or
		}
		if *n.value < 1 || *n.value > n.most {
			problems = append(problems, fmt.Errorf("%s is %d; 1 to %d are allowed", n.name, *n.value, n.most))
		}
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"Save", &c.Save, 250 * time.Millisecond}, {"Look", &c.Look, 2 * time.Second}, {"LeaseTimeout", &c.LeaseTimeout, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
		if *d.value < 0 {
			problems = append(problems, fmt.Errorf("%s is %s; it must be positive", d.name, *d.value))
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = c.Log.With(logGroup, c.Group)
	return errors.Join(problems...)
}
