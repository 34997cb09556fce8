package daprstate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// wantedKey orders sources by lane, service and id.
func wantedKey(ref actors.Ref) string {
	return lanePrefix(journal.Lane(ref)) + streamKey(ref)
}

func lanePrefix(lane int) string { return fmt.Sprintf("%02d/", lane) }

func sourceOf(key string) actors.Ref {
	service, id, _ := strings.Cut(key[3:], "\x00")
	return actors.Ref{Service: service, ID: id}
}

// wish is what the index has of a source.
type wish struct {
	asked  int64     // grows with every change
	before time.Time // when there is something to do; zero for now
}

func (w wish) encode() []byte {
	var e encoder
	e.number(w.asked)
	e.time(w.before)
	return e.data
}

func decodeWish(stored []byte) wish {
	d := decoder{data: stored}
	w := wish{d.number(), d.time()}
	if d.end() != nil {
		return wish{asked: w.asked} // it is looked at, then
	}
	return w
}

// want has a source looked at, from now on.
func (j *Journal) want(ctx context.Context, ref actors.Ref) error {
	return j.wanted.do(ctx, []string{wantedKey(ref)}, func(p *page, keys []string) {
		for _, key := range keys {
			p.counter++
			p.set(key, wish{asked: p.counter}.encode())
		}
	})
}

// next is when there is something to do about the effects of a head; ok is false if there are none.
func (h *head) next() (next time.Time, ok bool) {
	next = never
	held := false
	for i := range h.effects {
		e := &h.effects[i]
		if e.parked || held && !e.delayed {
			continue
		}
		held = held || !e.delayed
		if e.due.Before(next) {
			next = e.due
		}
	}
	return next, len(h.effects) > 0
}

// rest lets a source be until its next effect is due, if nothing was changed about it for a while.
func (j *Journal) rest(ctx context.Context, ref actors.Ref, w wish) error {
	key := wantedKey(ref)
	if !j.watch.quiet("wanted "+key, fmt.Sprint(w.asked), j.config.Quiet) {
		return nil
	}
	var until time.Time
	var some, idle bool
	err := j.change(ctx, ref, func(c *change) error {
		if until, some = c.next(); some && !until.After(time.Now()) {
			idle = false
			return errSame
		}
		idle, c.wanted = true, false
		return nil
	})
	if err != nil || !idle {
		return err
	}
	j.watch.forget("wanted " + key)
	return j.wanted.do(ctx, []string{key}, func(p *page, _ []string) {
		stored, ok := p.get(key)
		if !ok || decodeWish(stored).asked != w.asked {
			return
		}
		p.counter++
		if some {
			p.set(key, wish{p.counter, until}.encode())
			return
		}
		p.remove(key)
	})
}

// sourcesOf calls visit with the heads of the sources in a lane that pass, some at a time.
func (j *Journal) sourcesOf(ctx context.Context, lane int, pass func(ref actors.Ref, w wish) bool, visit func(h *head, w wish) (more bool, err error)) error {
	prefix := lanePrefix(lane)
	return j.wanted.scan(ctx, prefix, "", func(entries []entry) (bool, error) {
		for len(entries) > 0 {
			var refs []actors.Ref
			var wishes []wish
			for len(entries) > 0 && len(refs) < messageItems {
				ref, w := sourceOf(entries[0].key), decodeWish(entries[0].value)
				if entries = entries[1:]; pass(ref, w) {
					refs, wishes = append(refs, ref), append(wishes, w)
				}
			}
			heads, err := j.views(ctx, refs)
			if err != nil {
				return false, err
			}
			for i, h := range heads {
				if more, err := visit(h, wishes[i]); err != nil || !more {
					return false, err
				}
			}
		}
		return true, nil
	})
}
