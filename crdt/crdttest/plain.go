package crdttest

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/crdt"
)

// Plain is a replicated value as a user function has it: without any metadata. The zero Plain is that of an entity
// without a value.
type Plain struct {
	Kind crdt.Kind
	// Count of a GCounter, Sum of a PNCounter.
	Count uint64
	Sum   int64
	// Elements of a GSet or an ORSet.
	Elements map[crdt.Key]struct{}
	// Entries of an ORMap.
	Entries map[crdt.Key]*Plain
	// Register is the value of an LWWRegister.
	Register crdt.Key
	// On is a Flag's.
	On bool
	// Self, Votes and Voters are a Vote's.
	Self          bool
	Votes, Voters uint32
}

// NewPlain returns the zero value of the kind.
func NewPlain(k crdt.Kind) *Plain {
	return &Plain{Kind: k, Elements: make(map[crdt.Key]struct{}), Entries: make(map[crdt.Key]*Plain)}
}

// PlainOf returns a whole value, which may be nil: none. An error says what a user function could not have made of it.
func PlainOf(value *crdt.Update) (*Plain, error) {
	if value == nil {
		return NewPlain(0), nil
	}

	p := NewPlain(value.Kind)

	return p, p.begin(value)
}

// Told does what the user function is told. An error says why that does not fit what it was told before: every change
// must be one that a plain value can make, and must change something.
func (p *Plain) Told(u *crdt.Update) error {
	if p.Kind == 0 {
		*p = *NewPlain(u.Kind)
		return p.begin(u)
	}

	before := p.String()
	if err := p.told(u); err != nil {
		return err
	}

	if p.String() == before && !again(u) {
		return fmt.Errorf("being told of %s changes nothing", Format(u))
	}

	return nil
}

// again says whether an update may lead to the same value. An element that was away and came back leaves no trace in a
// set, but an entry that was removed and put again is news in a map. Votes are told as they are.
func again(u *crdt.Update) bool {
	return u.Kind == crdt.Vote || u.Cleared || len(u.Removed) > 0 ||
		slices.ContainsFunc(u.Changed, func(e crdt.Entry) bool { return again(e.Update) })
}

// begin takes an update of the zero value, which may say nothing.
func (p *Plain) begin(u *crdt.Update) error {
	if u.Cleared || len(u.Removed) > 0 || len(u.Changed) > 0 {
		return fmt.Errorf("a whole value takes something away: %s", Format(u))
	}

	return p.told(u)
}

func (p *Plain) told(u *crdt.Update) error {
	if u.Kind != p.Kind {
		return fmt.Errorf("a %s is told of a %s", p.Kind, u.Kind)
	}

	if u.Clock != 0 || u.Custom != 0 {
		return fmt.Errorf("a user function is told of a clock: %s", Format(u))
	}

	switch p.Kind {
	case crdt.GCounter:
		sum, carry := bits.Add64(p.Count, u.Increment, 0)
		if carry != 0 {
			return fmt.Errorf("increment of %d by %d overflows", p.Count, u.Increment)
		}
		p.Count = sum
	case crdt.PNCounter:
		sum := p.Sum + u.Change
		if (sum > p.Sum) != (u.Change > 0) && u.Change != 0 {
			return fmt.Errorf("change of %d by %d overflows", p.Sum, u.Change)
		}
		p.Sum = sum
	case crdt.GSet, crdt.ORSet:
		return p.toldSet(u)
	case crdt.LWWRegister:
		p.Register = u.Value
	case crdt.Flag:
		p.On = p.On || u.On
	case crdt.ORMap:
		return p.toldMap(u)
	case crdt.Vote:
		if u.Votes > u.Voters || u.Self && u.Votes == 0 {
			return fmt.Errorf("vote makes no sense: %s", Format(u))
		}
		p.Self, p.Votes, p.Voters = u.Self, u.Votes, u.Voters
	}

	return nil
}

func (p *Plain) toldSet(u *crdt.Update) error {
	if p.Kind == crdt.GSet && (u.Cleared || len(u.Removed) > 0) {
		return fmt.Errorf("a GSet is told to lose elements: %s", Format(u))
	}

	if u.Cleared {
		if len(p.Elements) == 0 {
			return fmt.Errorf("an empty set is told to be cleared: %s", Format(u))
		}
		clear(p.Elements)
	}

	for _, key := range u.Removed {
		if _, ok := p.Elements[key]; !ok {
			return fmt.Errorf("removed element %s is absent", name(key))
		}
		delete(p.Elements, key)
	}

	for _, key := range u.Added {
		if _, ok := p.Elements[key]; ok {
			return fmt.Errorf("added element %s is present", name(key))
		}
		p.Elements[key] = struct{}{}
	}

	return nil
}

func (p *Plain) toldMap(u *crdt.Update) error {
	if u.Cleared {
		if len(p.Entries) == 0 {
			return fmt.Errorf("an empty map is told to be cleared: %s", Format(u))
		}
		clear(p.Entries)
	}

	for _, key := range u.Removed {
		if _, ok := p.Entries[key]; !ok {
			return fmt.Errorf("removed entry %s is absent", name(key))
		}
		delete(p.Entries, key)
	}

	for _, entry := range u.Changed {
		nested, ok := p.Entries[entry.Key]
		if !ok {
			return fmt.Errorf("changed entry %s is absent", name(entry.Key))
		}
		if err := nested.Told(entry.Update); err != nil {
			return fmt.Errorf("entry %s: %w", name(entry.Key), err)
		}
	}

	for _, entry := range u.Put {
		if _, ok := p.Entries[entry.Key]; ok {
			return fmt.Errorf("put entry %s is present", name(entry.Key))
		}
		nested := NewPlain(entry.Update.Kind)
		if err := nested.begin(entry.Update); err != nil {
			return fmt.Errorf("entry %s: %w", name(entry.Key), err)
		}
		p.Entries[entry.Key] = nested
	}

	return nil
}

// Said does what the user function says, to its own value: it needs no answer to know what it did.
func (p *Plain) Said(u *crdt.Update) {
	if p.Kind == 0 {
		*p = *NewPlain(u.Kind)
	}

	switch p.Kind {
	case crdt.GCounter:
		p.Count += u.Increment
	case crdt.PNCounter:
		p.Sum += u.Change
	case crdt.GSet, crdt.ORSet:
		if u.Cleared {
			clear(p.Elements)
		}
		for _, key := range u.Removed {
			delete(p.Elements, key)
		}
		for _, key := range u.Added {
			p.Elements[key] = struct{}{}
		}
	case crdt.LWWRegister:
		p.Register = u.Value
	case crdt.Flag:
		p.On = p.On || u.On
	case crdt.Vote:
		// A user function counts its own vote at once. Until it is told of others it is the only voter.
		p.Voters = max(p.Voters, 1)
		if u.Self && !p.Self {
			p.Votes++
		} else if !u.Self && p.Self && p.Votes > 0 {
			p.Votes--
		}
		p.Self = u.Self
	case crdt.ORMap:
		if u.Cleared {
			clear(p.Entries)
		}
		for _, key := range u.Removed {
			delete(p.Entries, key)
		}
		for _, entry := range u.Changed {
			if nested := p.Entries[entry.Key]; nested != nil && nested.Kind == entry.Update.Kind {
				nested.Said(entry.Update)
			}
		}
		for _, entry := range u.Put {
			nested := p.Entries[entry.Key]
			if nested == nil || nested.Kind != entry.Update.Kind {
				nested = NewPlain(entry.Update.Kind)
				p.Entries[entry.Key] = nested
			}
			nested.Said(entry.Update)
		}
	}
}

// String is the same for equal values, and no others.
func (p *Plain) String() string {
	switch p.Kind {
	case crdt.GCounter:
		return fmt.Sprintf("counts %d", p.Count)
	case crdt.PNCounter:
		return fmt.Sprintf("sums up to %d", p.Sum)
	case crdt.GSet, crdt.ORSet:
		return fmt.Sprintf("%s{%s}", p.Kind, strings.Join(names(slices.Collect(maps.Keys(p.Elements))), " "))
	case crdt.LWWRegister:
		return "is " + name(p.Register)
	case crdt.Flag:
		return fmt.Sprintf("on %t", p.On)
	case crdt.Vote:
		return fmt.Sprintf("self %t, %d of %d", p.Self, p.Votes, p.Voters)
	case crdt.ORMap:
		lines := make([]string, 0, len(p.Entries))
		for key, nested := range p.Entries {
			lines = append(lines, fmt.Sprintf("%s: %s", name(key), nested))
		}
		slices.Sort(lines)
		return "{" + strings.Join(lines, ", ") + "}"
	default:
		return "nothing"
	}
}

// Format writes an update the way a failure should show it.
func Format(u *crdt.Update) string {
	if u == nil {
		return "nothing"
	}

	var b strings.Builder
	fmt.Fprintf(&b, "%s(", u.Kind)

	switch u.Kind {
	case crdt.GCounter:
		fmt.Fprintf(&b, "+%d", u.Increment)
	case crdt.PNCounter:
		fmt.Fprintf(&b, "%+d", u.Change)
	case crdt.LWWRegister:
		fmt.Fprintf(&b, "%s, clock %d %d", name(u.Value), u.Clock, u.Custom)
	case crdt.Flag:
		fmt.Fprint(&b, u.On)
	case crdt.Vote:
		fmt.Fprintf(&b, "%t, %d of %d", u.Self, u.Votes, u.Voters)
	default:
		if u.Cleared {
			b.WriteString("clear;")
		}
		for _, key := range u.Removed {
			fmt.Fprintf(&b, " -%s", name(key))
		}
		for _, key := range u.Added {
			fmt.Fprintf(&b, " +%s", name(key))
		}
		for _, entry := range u.Changed {
			fmt.Fprintf(&b, " %s~%s", name(entry.Key), Format(entry.Update))
		}
		for _, entry := range u.Put {
			fmt.Fprintf(&b, " %s=%s", name(entry.Key), Format(entry.Update))
		}
	}

	b.WriteString(")")

	return b.String()
}

func name(k crdt.Key) string {
	typeURL, value := k.Split()
	if typeURL == "" {
		return fmt.Sprintf("%q", value)
	}

	return fmt.Sprintf("%q:%q", typeURL, value)
}

func names(keys []crdt.Key) []string {
	all := make([]string, 0, len(keys))
	for _, key := range keys {
		all = append(all, name(key))
	}
	slices.Sort(all)

	return all
}
