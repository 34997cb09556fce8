package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// record is the value of a slot's cell.
type record struct {
	// Epoch that was handed out last, from 1.
	Epoch crdt.Epoch `json:"epoch"`
	// Owner is the process that holds the slot in that epoch, a random text; empty if nobody does.
	Owner    string `json:"owner,omitempty"`
	Address  string `json:"address,omitempty"`
	Features string `json:"features,omitempty"`
	// TTL of the owner, in nanoseconds.
	TTL time.Duration `json:"ttl,omitempty"`
	// Retired slots are not handed out any more.
	Retired bool `json:"retired,omitempty"`
}

// group is the value of the group's cell.
type group struct {
	ClusterUID uint64   `json:"clusterUID"`
	View       uint64   `json:"view"`
	Members    []Member `json:"members"`
}

func groupKey(name string) string   { return "slots/" + name }
func slotPrefix(name string) string { return "slot/" + name + "/" }

func slotKey(name string, s crdt.Slot) string { return fmt.Sprintf("%s%04d", slotPrefix(name), s) }

// slotOf returns the number that a key of a slot has behind its prefix.
func slotOf(number string) (crdt.Slot, error) {
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n >= crdt.MaxSlots || len(number) != 4 {
		return 0, fmt.Errorf("%q is no slot", number)
	}
	return crdt.Slot(n), nil
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and texts
	}
	return b
}

func decodeRecord(c journal.Cell) (r record, err error) {
	if err := json.Unmarshal(c.Value, &r); err != nil {
		return record{}, fmt.Errorf("read the cell %s: %w", c.Key, err)
	}
	if r.Epoch == 0 || r.Epoch >= crdt.MaxEpochs || r.TTL < 0 {
		return record{}, fmt.Errorf("read the cell %s: epoch %d and TTL %s cannot be", c.Key, r.Epoch, r.TTL)
	}
	return r, nil
}

func decodeGroup(c journal.Cell) (g group, err error) {
	if c.Version == 0 {
		return group{}, nil
	}
	if err = json.Unmarshal(c.Value, &g); err == nil {
		err = g.validate()
	}
	if err != nil {
		return group{}, fmt.Errorf("read the cell %s, without which nobody can be a member (restore it from a backup): %w", c.Key, err)
	}
	return g, nil
}

func (g *group) validate() error {
	if g.ClusterUID == 0 || g.View == 0 {
		return errors.New("the cluster's id or the view's number is missing")
	}
	for i, m := range g.Members {
		if m.Slot >= crdt.MaxSlots || m.Epoch == 0 || m.Epoch >= crdt.MaxEpochs || i > 0 && m.Slot <= g.Members[i-1].Slot {
			return fmt.Errorf("slot %d with epoch %d cannot be there", m.Slot, m.Epoch)
		}
	}
	return nil
}

func (g *group) view() View {
	return View{ID: g.View, ClusterUID: g.ClusterUID, Members: slices.Clone(g.Members)}
}

func (g *group) has(m Member) bool { return View{Members: g.Members}.Has(m.Slot, m.Epoch) }
