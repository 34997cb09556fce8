package userfunction

import (
	"fmt"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/crdt"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// toDelta is u as user functions are told it.
func toDelta(u *crdt.Update) *protocol.CrdtDelta {
	d := new(protocol.CrdtDelta)
	switch u.Kind {
	case crdt.GCounter:
		d.Delta = &protocol.CrdtDelta_Gcounter{Gcounter: &protocol.GCounterDelta{Increment: u.Increment}}
	case crdt.PNCounter:
		d.Delta = &protocol.CrdtDelta_Pncounter{Pncounter: &protocol.PNCounterDelta{Change: u.Change}}
	case crdt.GSet:
		d.Delta = &protocol.CrdtDelta_Gset{Gset: &protocol.GSetDelta{Added: toAnys(u.Added)}}
	case crdt.ORSet:
		d.Delta = &protocol.CrdtDelta_Orset{Orset: &protocol.ORSetDelta{Cleared: u.Cleared, Removed: toAnys(u.Removed), Added: toAnys(u.Added)}}
	case crdt.LWWRegister:
		d.Delta = &protocol.CrdtDelta_Lwwregister{Lwwregister: &protocol.LWWRegisterDelta{
			Value: keyAny(u.Value), Clock: protocol.CrdtClock(u.Clock), CustomClockValue: u.Custom,
		}}
	case crdt.Flag:
		d.Delta = &protocol.CrdtDelta_Flag{Flag: &protocol.FlagDelta{Value: u.On}}
	case crdt.ORMap:
		d.Delta = &protocol.CrdtDelta_Ormap{Ormap: &protocol.ORMapDelta{
			Cleared: u.Cleared, Removed: toAnys(u.Removed), Updated: toEntries(u.Changed), Added: toEntries(u.Put),
		}}
	case crdt.Vote:
		d.Delta = &protocol.CrdtDelta_Vote{Vote: &protocol.VoteDelta{SelfVote: u.Self, VotesFor: int32(u.Votes), TotalVoters: int32(u.Voters)}}
	}
	return d
}

func toAnys(keys []crdt.Key) []*anypb.Any {
	if len(keys) == 0 {
		return nil
	}
	// All in one piece.
	anys, list := make([]anypb.Any, len(keys)), make([]*anypb.Any, len(keys))
	for i, k := range keys {
		fillKey(&anys[i], k)
		list[i] = &anys[i]
	}
	return list
}

func keyAny(k crdt.Key) *anypb.Any {
	a := new(anypb.Any)
	fillKey(a, k)
	return a
}

func fillKey(a *anypb.Any, k crdt.Key) {
	url, value := k.Split()
	a.TypeUrl = url
	if value != "" {
		a.Value = []byte(value)
	}
}

func toEntries(list []crdt.Entry) []*protocol.ORMapEntryDelta {
	if len(list) == 0 {
		return nil
	}
	entries := make([]*protocol.ORMapEntryDelta, len(list))
	for i, e := range list {
		entries[i] = &protocol.ORMapEntryDelta{Key: keyAny(e.Key), Delta: toDelta(e.Update)}
	}
	return entries
}

// fromDelta reads what a user function does. Errors match errBroken and hold nothing of the values.
func fromDelta(d *protocol.CrdtDelta) (*crdt.Update, error) { return readDelta(d, 0) }

// readDelta reads a delta that has so many maps around it.
func readDelta(d *protocol.CrdtDelta, maps int) (u *crdt.Update, err error) {
	if maps > crdt.MaxDepth {
		return nil, fmt.Errorf("%w: a delta with more than %d maps around it", errBroken, crdt.MaxDepth)
	}
	switch d := d.GetDelta().(type) {
	case *protocol.CrdtDelta_Gcounter:
		return &crdt.Update{Kind: crdt.GCounter, Increment: d.Gcounter.GetIncrement()}, nil
	case *protocol.CrdtDelta_Pncounter:
		return &crdt.Update{Kind: crdt.PNCounter, Change: d.Pncounter.GetChange()}, nil
	case *protocol.CrdtDelta_Gset:
		u = &crdt.Update{Kind: crdt.GSet}
		u.Added, err = keys("added", d.Gset.GetAdded())
	case *protocol.CrdtDelta_Orset:
		u = &crdt.Update{Kind: crdt.ORSet, Cleared: d.Orset.GetCleared()}
		if u.Removed, err = keys("removed", d.Orset.GetRemoved()); err == nil {
			u.Added, err = keys("added", d.Orset.GetAdded())
		}
	case *protocol.CrdtDelta_Lwwregister:
		u, err = register(d.Lwwregister)
	case *protocol.CrdtDelta_Flag:
		return &crdt.Update{Kind: crdt.Flag, On: d.Flag.GetValue()}, nil
	case *protocol.CrdtDelta_Ormap:
		u = &crdt.Update{Kind: crdt.ORMap, Cleared: d.Ormap.GetCleared()}
		if u.Removed, err = keys("removed", d.Ormap.GetRemoved()); err != nil {
			break
		}
		if u.Changed, err = entries("updated", d.Ormap.GetUpdated(), maps); err == nil {
			u.Put, err = entries("added", d.Ormap.GetAdded(), maps)
		}
	case *protocol.CrdtDelta_Vote:
		return &crdt.Update{Kind: crdt.Vote, Self: d.Vote.GetSelfVote()}, nil // the counts are ours to tell
	default:
		return nil, fmt.Errorf("%w: an empty delta", errBroken)
	}
	if err != nil {
		return nil, err
	}
	return u, nil
}

// register reads a write. One without a value writes an empty message without a type, as Cloudstate has it.
func register(d *protocol.LWWRegisterDelta) (*crdt.Update, error) {
	u := &crdt.Update{Kind: crdt.LWWRegister, Value: crdt.MakeKey(d.GetValue().GetTypeUrl(), d.GetValue().GetValue())}
	switch d.GetClock() {
	case protocol.CrdtClock_DEFAULT:
		u.Clock = crdt.ClockDefault
	case protocol.CrdtClock_REVERSE:
		u.Clock = crdt.ClockReverse
	case protocol.CrdtClock_CUSTOM:
		u.Clock, u.Custom = crdt.ClockCustom, d.GetCustomClockValue()
	case protocol.CrdtClock_CUSTOM_AUTO_INCREMENT:
		u.Clock, u.Custom = crdt.ClockAutoIncrement, d.GetCustomClockValue()
	default:
		return nil, fmt.Errorf("%w: a register's clock of the unknown sort %d", errBroken, d.GetClock())
	}
	return u, nil
}

// keys reads the elements, or keys, of one list of a delta.
func keys(what string, list []*anypb.Any) ([]crdt.Key, error) {
	if len(list) == 0 {
		return nil, nil
	}
	keys, seen := make([]crdt.Key, len(list)), make(map[crdt.Key]struct{}, len(list))
	for i, a := range list {
		k, err := key(what, i, len(list), a, seen)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	return keys, nil
}

func key(what string, i, of int, a *anypb.Any, seen map[crdt.Key]struct{}) (crdt.Key, error) {
	if a.GetTypeUrl() == "" {
		return crdt.Key{}, fmt.Errorf("%w: %s value %d of %d is missing, or has no type URL", errBroken, what, i+1, of)
	}
	k := crdt.MakeKey(a.GetTypeUrl(), a.GetValue())
	if _, twice := seen[k]; twice {
		return crdt.Key{}, fmt.Errorf("%w: %s value %d of %d was there before", errBroken, what, i+1, of)
	}
	seen[k] = struct{}{}
	return k, nil
}

func entries(what string, list []*protocol.ORMapEntryDelta, maps int) ([]crdt.Entry, error) {
	if len(list) == 0 {
		return nil, nil
	}
	entries, seen := make([]crdt.Entry, len(list)), make(map[crdt.Key]struct{}, len(list))
	for i, e := range list {
		k, err := key(what, i, len(list), e.GetKey(), seen)
		if err != nil {
			return nil, err
		}
		u, err := readDelta(e.GetDelta(), maps+1)
		if err != nil {
			return nil, fmt.Errorf("%s entry %d of %d: %w", what, i+1, len(list), err)
		}
		entries[i] = crdt.Entry{Key: k, Update: u}
	}
	return entries, nil
}
