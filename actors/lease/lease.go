package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors/journal"
)

// Config of Leases. Cells, Group, Member and Work are needed.
type Config struct {
	Cells journal.Cells
	// Group of names that are shared out together. 1 to MaxGroupBytes bytes of UTF-8 without slashes and zero bytes.
	Group string
	// Member names this component among the others, and is never used again after it has ended: a random text. The same
	// limits as for Group.
	Member string
	// Work is done while the lease of a name is held. It returns soon after ctx has ended: within Grace if the cause of
	// that is ErrLost. If it returns before, it is begun again after a while. It may run for many names at once.
	Work func(ctx context.Context, held *Held) error
	// TTL is how long after the last sign of life a member counts as alive. Defaults to 5 seconds.
	TTL time.Duration
	// Poll is how often a member shows that it lives and looks at the others. Defaults to TTL/5.
	Poll time.Duration
	// Grace is how long before the end of its TTL a member that cannot show that it lives stops its works. Defaults to
	// TTL/4. Poll and Grace together have to be less than TTL.
	Grace time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
	// Observer's functions may each be nil.
	Observer Observer
}

// The limits of Leases.
const (
	// MaxGroupBytes is for groups and members.
	MaxGroupBytes = 100
	// MaxNameBytes is for names.
	MaxNameBytes = 800
	// MaxNamesBytes is for all names of a member together.
	MaxNamesBytes = 256 << 10
)

// Observer is told what happens. Its functions must return soon.
type Observer struct {
	// Taken when a lease is held and its work begins.
	Taken func(name string)
	// Ended when the work has stopped: ErrLost, ErrGivenBack or ErrStopping say why it had to.
	Ended func(name string, why error)
	// Failed when work returned before it had to; it is begun again.
	Failed func(name string, err error)
	// Round after every round of this member, with what kept it from being complete.
	Round func(took time.Duration, err error)
}

// Why a work has to stop: the cause of the end of its context.
var (
	// ErrLost means that another member may take the lease when Grace is over.
	ErrLost = errors.New("the lease is lost")
	// ErrGivenBack means that another member waits for the name, or that nobody wants it any more.
	ErrGivenBack = errors.New("the lease is given back")
	// ErrStopping means that this component stops.
	ErrStopping = errors.New("the component stops")
)

// The keys of log entries.
const (
	logGroup = "group"
	logName  = "name"
	logError = "error"
)

// Leases is one member's part in sharing out the names of a group. It may be used from many goroutines at once.
type Leases struct {
	config Config
	wake   chan struct{}
	works  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	names   []string
	held    map[string]*Held
	renewed time.Time // beginning of the last round that moved our version; zero if we have no cell
	moved   chan struct{}

	// Of the rounds alone:
	version int64 // of our cell
	seen    map[string]sighting
	failing bool
}

// New makes Leases, which hold nothing before Run and Names are called.
func New(config Config) (*Leases, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("share out the names of %q: %w", config.Group, err)
	}
	return &Leases{
		config: config, wake: make(chan struct{}, 1), moved: make(chan struct{}, 1),
		held: map[string]*Held{}, seen: map[string]sighting{},
	}, nil
}

// Names sets what is to be shared out, as far as this member is concerned: it holds no lease of another name, and works
// that are no longer named are stopped. An error says which names no cell can have, and changes nothing.
func (l *Leases) Names(names []string) error {
	names = slices.Clone(names)
	slices.Sort(names)
	names = slices.Compact(names)
	total := 0
	var problems []error
	for _, n := range names {
		total += len(n)
		if n == "" || len(n) > MaxNameBytes || !text(n) {
			problems = append(problems, fmt.Errorf("the name %.40q is not 1 to %d bytes of UTF-8 without zero bytes", n, MaxNameBytes))
		}
	}
	if total > MaxNamesBytes {
		problems = append(problems, fmt.Errorf("%d names have %d bytes; at most %d are allowed", len(names), total, MaxNamesBytes))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("share out the names of %q: %w", l.config.Group, err)
	}
	l.mu.Lock()
	l.names = names
	l.mu.Unlock()
	ring(l.wake)
	return nil
}

// Held returns the names whose leases are held, sorted.
func (l *Leases) Held() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name, h := range l.held {
		if h.ctx.Err() == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *Config) validate() error {
	var problems []error
	if c.Cells == nil {
		problems = append(problems, errors.New("Cells is not set"))
	}
	if c.Work == nil {
		problems = append(problems, errors.New("Work is not set"))
	}
	for _, s := range []struct{ field, value string }{{"Group", c.Group}, {"Member", c.Member}} {
		if s.value == "" || len(s.value) > MaxGroupBytes || !text(s.value) || strings.Contains(s.value, "/") {
			problems = append(problems, fmt.Errorf("%s is %.40q; 1 to %d bytes of UTF-8 without slashes and zero bytes are needed",
				s.field, s.value, MaxGroupBytes))
		}
	}
	if c.TTL == 0 {
		c.TTL = 5 * time.Second
	}
	if c.Poll == 0 {
		c.Poll = c.TTL / 5
	}
	if c.Grace == 0 {
		c.Grace = c.TTL / 4
	}
	if c.Poll <= 0 || c.Grace <= 0 || c.Poll+c.Grace >= c.TTL {
		problems = append(problems, fmt.Errorf("TTL is %s, Poll %s and Grace %s; they must be positive, and Poll and Grace together less than TTL",
			c.TTL, c.Poll, c.Grace))
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = c.Log.With(logGroup, c.Group)
	o := &c.Observer
	if o.Taken == nil {
		o.Taken = func(string) {}
	}
	if o.Ended == nil {
		o.Ended = func(string, error) {}
	}
	if o.Failed == nil {
		o.Failed = func(string, error) {}
	}
	if o.Round == nil {
		o.Round = func(time.Duration, error) {}
	}
	return errors.Join(problems...)
}

func text(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// ring a doorbell. One that rings already is enough.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
