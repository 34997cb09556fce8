package slot

import (
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// FuzzCells gives a member whatever may stand in the cells. What is understood is what would be written again, and a member
// that reads it comes to a decision.
func FuzzCells(f *testing.F) {
	f.Add([]byte(`{"epoch":3,"owner":"x","ttl":15000000000}`), []byte(`{"clusterUID":1,"view":2,"members":[{"slot":0,"epoch":3}]}`))
	f.Add([]byte(`{"epoch":1048575,"retired":true}`), []byte(`{"clusterUID":18446744073709551615,"view":1,"members":[]}`))
	f.Add([]byte(`{"epoch":1048576}`), []byte(`{"clusterUID":1,"view":1,"members":[{"slot":5,"epoch":1},{"slot":4,"epoch":1}]}`))
	f.Add([]byte(`{"epoch":1,"ttl":-1}`), []byte(`null`))
	f.Add([]byte(``), []byte(`{`))
	f.Fuzz(func(t *testing.T, ofSlot, ofGroup []byte) {
		cells := []journal.Cell{{Key: slotKey("g", 0), Value: ofSlot, Version: 1}}
		whole := journal.Cell{Key: groupKey("g"), Value: ofGroup, Version: 2}
		if r, err := decodeRecord(cells[0]); err == nil {
			if again, err := decodeRecord(journal.Cell{Value: encode(r)}); err != nil || again.Epoch != r.Epoch || again.Retired != r.Retired || again.TTL != r.TTL {
				t.Errorf("%+v becomes %+v, %v", r, again, err)
			}
		}
		g, err := decodeGroup(whole)
		if err == nil {
			if again, err := decodeGroup(journal.Cell{Value: encode(g), Version: 1}); err != nil || again.View != g.View || len(again.Members) != len(g.Members) {
				t.Errorf("%+v becomes %+v, %v", g, again, err)
			}
		}
		c := newCore("g", record{Owner: "me", TTL: 15 * time.Second}, 4, func() uint64 { return 1 })
		now := time.Unix(0, 0)
		s := c.next(now)
		if s.do != doRead {
			t.Fatalf("step %+v before anything is read", s)
		}
		c.done(s, result{began: now, group: whole, slots: cells}, now)
		switch s = c.next(now); {
		case s.do == doWait && !s.until.After(now):
			t.Errorf("it waits for the past: %+v", s)
		case err != nil && s.do != doWait:
			t.Errorf("step %+v with a damaged view", s)
		case s.do == doPut && s.record.Epoch >= crdt.MaxEpochs:
			t.Errorf("step %+v", s)
		}
	})
}
