package slot

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// Config of a Group. Cells and Group are needed.
type Config struct {
	Cells journal.Cells
	// Group of members that replicate together, as a rule the app's id. 1 to MaxGroupBytes bytes of UTF-8 without slashes
	// and zero bytes.
	Group string
	// Address at which other members can ask this one, host:port, of at most MaxAddressBytes bytes. Empty if they cannot.
	Address string
	// Features, words with spaces between them, of at most MaxFeaturesBytes bytes.
	Features string
	// TTL is how long a member's slot stands still before others may take it. Defaults to 15 seconds. At least 100 ms.
	TTL time.Duration
	// Slots is how many members there can be at a time. Defaults to 1024. At most crdt.MaxSlots, and the members' addresses
	// and features have to fit into one cell.
	Slots int
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// The limits of a Group.
const (
	MaxGroupBytes    = 100
	MaxAddressBytes  = 260
	MaxFeaturesBytes = 256
)

// The keys of log entries.
const (
	logGroup = "group"
	logSlot  = "slot"
	logEpoch = "epoch"
	logView  = "view"
	logError = "error"
)

// ErrLost says that a lease is, or may be, over.
var ErrLost = errors.New("the slot is not held any more")

// Group is this process's part in a group of members. It may be used from many goroutines at once.
type Group struct {
	config Config
	base   time.Time // what leases count from
	owner  string
	wake   chan struct{}

	mu      sync.Mutex // guards what follows
	core    *core
	lease   *Lease
	view    View
	seen    int64 // version of the group's cell that view is of
	problem error
	changed chan struct{}
}

// State is how things stand at a moment.
type State struct {
	// Lease that is held; nil if none is, and then this process must not write.
	Lease *Lease
	// View that this process has heard of last. Others may know a later one.
	View View
	// Err says why there is no Lease, or why the one that there is may be lost soon.
	Err error
}

// New makes a Group, which takes part when Run is called.
func New(config Config) (*Group, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("take part in the group %.40q: %w", config.Group, err)
	}
	g := &Group{config: config, base: time.Now(), owner: rand.Text(), wake: make(chan struct{}, 1), changed: make(chan struct{})}
	self := record{Owner: g.owner, Address: config.Address, Features: config.Features, TTL: config.TTL}
	g.core = newCore(config.Group, self, config.Slots, random)
	g.problem = g.core.problem
	return g, nil
}

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return max(binary.LittleEndian.Uint64(b[:]), 1)
}

func (c *Config) validate() error {
	var problems []error
	if c.Cells == nil {
		problems = append(problems, errors.New("Cells is not set"))
	}
	if err := validateGroup(c.Group); err != nil {
		problems = append(problems, err)
	}
	if len(c.Address) > MaxAddressBytes || !text(c.Address) {
		problems = append(problems, fmt.Errorf("Address is not at most %d bytes of UTF-8 without zero bytes", MaxAddressBytes))
	}
	if len(c.Features) > MaxFeaturesBytes || !text(c.Features) {
		problems = append(problems, fmt.Errorf("Features is not at most %d bytes of UTF-8 without zero bytes", MaxFeaturesBytes))
	}
	c.TTL, c.Slots = cmp.Or(c.TTL, 15*time.Second), cmp.Or(c.Slots, 1024)
	if c.TTL < 100*time.Millisecond {
		problems = append(problems, fmt.Errorf("TTL is %s; at least 100ms are needed", c.TTL))
	}
	if c.Slots < 1 || c.Slots > crdt.MaxSlots {
		problems = append(problems, fmt.Errorf("Slots is %d; 1 to %d are possible", c.Slots, crdt.MaxSlots))
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = c.Log.With(logGroup, c.Group)
	return errors.Join(problems...)
}

func validateGroup(name string) error {
	if name == "" || len(name) > MaxGroupBytes || !text(name) || strings.Contains(name, "/") {
		return fmt.Errorf("Group is %.40q; 1 to %d bytes of UTF-8 without slashes and zero bytes are needed", name, MaxGroupBytes)
	}
	return nil
}

func text(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// State returns how things stand, and a channel that is closed when that has changed.
func (g *Group) State() (State, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return State{g.lease, g.view, g.problem}, g.changed
}

// View that this process has heard of last.
func (g *Group) View() View {
	s, _ := g.State()
	return s.View
}

// Acquire waits until this process holds a lease, and returns that. It needs a Run.
func (g *Group) Acquire(ctx context.Context) (*Lease, error) {
	for {
		s, changed := g.State()
		if s.Lease != nil && s.Lease.Valid() {
			return s.Lease, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s, _ := g.State()
			return nil, fmt.Errorf("become a member of %s: %w", g.config.Group, errors.Join(context.Cause(ctx), s.Err))
		}
	}
}

// Current reads the view from the journal. It is at least as new as the moment of the call.
func (g *Group) Current(ctx context.Context) (View, error) {
	g.mu.Lock()
	floor, cluster := g.core.newest.version, g.core.cluster
	g.mu.Unlock()
	cell, err := g.config.Cells.Cell(ctx, groupKey(g.config.Group))
	var now group
	if err == nil {
		now, err = decodeGroup(cell)
	}
	if err != nil {
		return View{}, fmt.Errorf("ask who the members of %s are: %w", g.config.Group, err)
	}
	defer ring(g.wake)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case cell.Version < floor:
		g.core.stale = true
		return View{}, fmt.Errorf("ask who the members of %s are: %w", g.config.Group, ErrRestored)
	case cluster != 0 && now.ClusterUID != cluster:
		g.core.stale = true
		return View{}, fmt.Errorf("ask who the members of %s are: %w", g.config.Group, ErrRotated)
	}
	g.core.heard(groupCell{now, cell.Version})
	g.publish()
	return g.view, nil
}

// Fenced tells whether it is known that nobody holds the slot in that epoch any more. Once true it stays true.
func (g *Group) Fenced(slot crdt.Slot, epoch crdt.Epoch) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.fenced(slot, epoch)
}

// Lease of a slot in an epoch.
type Lease struct {
	group  *Group
	member Member
	uid    uint64
	until  atomic.Int64 // after Group.base
	lost   chan struct{}
}

// Member that the lease makes of this process.
func (l *Lease) Member() Member { return l.member }

// ClusterUID that goes with slot and epoch.
func (l *Lease) ClusterUID() uint64 { return l.uid }

// Lost is closed when the lease is over. No lease becomes valid again.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Valid reports, by this process's clock alone, that nobody else can hold the slot, and that every view has this member.
// It costs next to nothing: ask before everything that cannot be undone.
func (l *Lease) Valid() bool {
	select {
	case <-l.lost:
		return false
	default:
		return int64(time.Since(l.group.base)) < l.until.Load()
	}
}

// Check asks the journal whether the slot is held. The error matches ErrLost if it is not; any other leaves it open.
func (l *Lease) Check(ctx context.Context) error {
	g := l.group
	cell, err := g.config.Cells.Cell(ctx, slotKey(g.config.Group, l.member.Slot))
	if err != nil {
		return fmt.Errorf("ask who holds slot %d: %w", l.member.Slot, err)
	}
	if r, err := decodeRecord(cell); err == nil && r.Owner == g.owner && r.Epoch == l.member.Epoch && l.Valid() {
		return nil
	}
	g.mu.Lock()
	g.core.stale = true
	g.mu.Unlock()
	ring(g.wake)
	return fmt.Errorf("ask who holds slot %d: %w", l.member.Slot, ErrLost)
}

// ring a doorbell. One that rings already is enough.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
