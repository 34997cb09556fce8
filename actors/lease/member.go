package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// life is the value of a member's cell.
type life struct {
	TTL   time.Duration `json:"ttl"` // in nanoseconds
	Names []string      `json:"names"`
}

// sighting of another member's version: when it was first seen, by our clock.
type sighting struct {
	version int64
	since   time.Time
}

// page is how many cells are read at once.
const page = 500

func (l *Leases) leaseKey(name string) string    { return "lease/" + l.config.Group + "/" + name }
func (l *Leases) memberKey(member string) string { return "member/" + l.config.Group + "/" + member }

// renew moves our version.
func (l *Leases) renew(ctx context.Context, names []string) error {
	value, err := json.Marshal(life{l.config.TTL, names})
	if err != nil {
		return fmt.Errorf("show that %s lives: %w", l.config.Member, err)
	}
	cell := journal.Cell{Key: l.memberKey(l.config.Member), Value: value, Version: l.version}
	for range 2 {
		began := time.Now()
		version, err := l.config.Cells.Put(ctx, cell)
		if err == nil {
			l.version = version
			l.alive(began)
			return nil
		}
		if !errors.Is(err, journal.ErrConflict) {
			return fmt.Errorf("show that %s lives: %w", l.config.Member, err)
		}
		// Either a Put of ours was carried out whose answer was lost, or we have been buried. Who was buried has nothing
		// any more, whatever his clock says.
		now, err := l.config.Cells.Cell(ctx, cell.Key)
		if err != nil {
			return fmt.Errorf("ask whether %s lives: %w", l.config.Member, err)
		}
		if now.Version == 0 {
			l.lose()
		}
		l.version, cell.Version = now.Version, now.Version
	}
	return fmt.Errorf("show that %s lives: its cell changes all the time; is the member's name used twice?", l.config.Member)
}

// alive lets works go on for some time from began.
func (l *Leases) alive(began time.Time) {
	l.mu.Lock()
	l.renewed = began
	l.mu.Unlock()
	ring(l.moved)
}

// until is when works have to stop. Leases.mu is held.
func (l *Leases) until() time.Time {
	if l.renewed.IsZero() {
		return time.Time{}
	}
	return l.renewed.Add(l.config.TTL - l.config.Grace)
}

// lose tells all works to stop soon.
func (l *Leases) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
	for _, h := range l.held {
		h.lose()
	}
}

// guard stops the works when nobody has said for too long that we live, even if the journal does not answer.
func (l *Leases) guard(stop <-chan struct{}) {
	timer := time.NewTimer(l.config.TTL)
	defer timer.Stop()
	for {
		l.mu.Lock()
		left, asleep := time.Until(l.until()), l.renewed.IsZero()
		l.mu.Unlock()
		switch {
		case asleep:
			timer.Stop()
		case left <= 0:
			l.lose()
			continue
		default:
			timer.Reset(left)
		}
		select {
		case <-stop:
			return
		case <-l.moved:
		case <-timer.C:
		}
	}
}

// members returns what the living want, and when the next of them may have to be buried. It buries those who did not move.
func (l *Leases) members(ctx context.Context) (living map[string][]string, next time.Time, err error) {
	prefix := l.memberKey("")
	living, gone := map[string][]string{}, l.seen
	l.seen = make(map[string]sighting, len(gone))
	err = l.each(ctx, prefix, func(c journal.Cell) error {
		member := strings.TrimPrefix(c.Key, prefix)
		var said life
		if err := json.Unmarshal(c.Value, &said); err != nil {
			l.config.Log.Warn("a member's cell cannot be read, and counts as one without names", "member", member, logError, err)
			said = life{}
		}
		if member == l.config.Member {
			living[member] = said.Names
			return nil
		}
		s := gone[member]
		if s.version != c.Version {
			s = sighting{c.Version, time.Now()}
		}
		dies := s.since.Add(max(said.TTL, l.config.TTL))
		if time.Now().Before(dies) {
			l.seen[member], living[member] = s, said.Names
			if next.IsZero() || dies.Before(next) {
				next = dies
			}
			return nil
		}
		err := l.config.Cells.Remove(ctx, c.Key, c.Version)
		switch {
		case err == nil:
			l.config.Log.Info("a member showed no sign of life, and its leases are free", "member", member)
		case errors.Is(err, journal.ErrConflict): // it moved, or another was faster; the next round will tell
			living[member] = said.Names
		default:
			l.seen[member] = s
			return fmt.Errorf("bury %s: %w", member, err)
		}
		return nil
	})
	if err != nil {
		for member, s := range gone { // what was not reached this time was not seen to move either
			if _, ok := l.seen[member]; !ok {
				l.seen[member] = s
			}
		}
		return nil, time.Time{}, fmt.Errorf("look who lives: %w", err)
	}
	return living, next, nil
}

// each calls f with every cell whose key begins with prefix.
func (l *Leases) each(ctx context.Context, prefix string, f func(journal.Cell) error) error {
	after := ""
	for {
		cells, err := l.config.Cells.Cells(ctx, prefix, after, page)
		if err != nil || len(cells) == 0 {
			return err
		}
		for _, c := range cells {
			if err := f(c); err != nil {
				return err
			}
			after = c.Key
		}
	}
}
