package tck

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// The notation of replicated values. A state is written as the delta that makes it of nothing.

func gcounter(n uint64) *crdt.CrdtDelta {
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Gcounter{Gcounter: &crdt.GCounterDelta{Increment: n}}}
}

func pncounter(n int64) *crdt.CrdtDelta {
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Pncounter{Pncounter: &crdt.PNCounterDelta{Change: n}}}
}

// gset takes elements in one text, such as "a b".
func gset(elements string) *crdt.CrdtDelta {
	d := new(crdt.GSetDelta)
	for e := range strings.FieldsSeq(elements) {
		d.Added = append(d.Added, stringAny(e))
	}
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Gset{Gset: d}}
}

// orset takes what happens in one text, such as "cleared", "-a +b" or, for what is added, "b".
func orset(changes string) *crdt.CrdtDelta {
	d := new(crdt.ORSetDelta)
	for c := range strings.FieldsSeq(changes) {
		switch {
		case c == "cleared":
			d.Cleared = true
		case strings.HasPrefix(c, "-"):
			d.Removed = append(d.Removed, stringAny(c[1:]))
		default:
			d.Added = append(d.Added, stringAny(strings.TrimPrefix(c, "+")))
		}
	}
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Orset{Orset: d}}
}

func register(value string) *crdt.CrdtDelta {
	return clocked(value, crdt.CrdtClock_DEFAULT, 0)
}

func clocked(value string, clock crdt.CrdtClock, custom int64) *crdt.CrdtDelta {
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Lwwregister{Lwwregister: &crdt.LWWRegisterDelta{
		Value: stringAny(value), Clock: clock, CustomClockValue: custom,
	}}}
}

func flag(on bool) *crdt.CrdtDelta {
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Flag{Flag: &crdt.FlagDelta{Value: on}}}
}

func vote(self bool, votes, voters int32) *crdt.CrdtDelta {
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Vote{Vote: &crdt.VoteDelta{SelfVote: self, VotesFor: votes, TotalVoters: voters}}}
}

// The parts of a map's delta.
type (
	mapPart interface{ of(m *crdt.ORMapDelta) }
	wiped   bool
	removed []string
	changed map[string]*crdt.CrdtDelta
	put     map[string]*crdt.CrdtDelta
)

const cleared wiped = true

func ormap(parts ...mapPart) *crdt.CrdtDelta {
	d := new(crdt.ORMapDelta)
	for _, p := range parts {
		p.of(d)
	}
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Ormap{Ormap: d}}
}

func (w wiped) of(m *crdt.ORMapDelta) { m.Cleared = bool(w) }

func (r removed) of(m *crdt.ORMapDelta) {
	for _, key := range r {
		m.Removed = append(m.Removed, stringAny(key))
	}
}

func (c changed) of(m *crdt.ORMapDelta) { m.Updated = mapEntries(c) }
func (p put) of(m *crdt.ORMapDelta)     { m.Added = mapEntries(p) }

func mapEntries(entries map[string]*crdt.CrdtDelta) []*crdt.ORMapEntryDelta {
	var out []*crdt.ORMapEntryDelta
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		out = append(out, &crdt.ORMapEntryDelta{Key: stringAny(key), Delta: entries[key]})
	}
	return out
}

// stringAny is a string as the protocol has it: one that is empty has no bytes.
func stringAny(s string) *anypb.Any {
	data, err := proto.Marshal(wrapperspb.String(s))
	if err != nil {
		panic(err)
	}
	return &anypb.Any{TypeUrl: "p.cloudstate.io/string", Value: data}
}

func anyString(a *anypb.Any) string {
	s := new(wrapperspb.StringValue)
	if err := proto.Unmarshal(a.GetValue(), s); err != nil {
		panic(err)
	}
	return s.GetValue()
}

// stateJSON is the model's State that a delta makes of nothing.
func stateJSON(state *crdt.CrdtDelta) string {
	texts := func(elements []*anypb.Any) string {
		var out []string
		for _, e := range elements {
			out = append(out, fmt.Sprintf("%q", anyString(e)))
		}
		slices.Sort(out)
		return strings.Join(out, ",")
	}
	switch d := state.GetDelta().(type) {
	case *crdt.CrdtDelta_Gcounter:
		return fmt.Sprintf(`{"gcounter":{"value":"%d"}}`, d.Gcounter.GetIncrement())
	case *crdt.CrdtDelta_Pncounter:
		return fmt.Sprintf(`{"pncounter":{"value":"%d"}}`, d.Pncounter.GetChange())
	case *crdt.CrdtDelta_Gset:
		return fmt.Sprintf(`{"gset":{"elements":[%s]}}`, texts(d.Gset.GetAdded()))
	case *crdt.CrdtDelta_Orset:
		return fmt.Sprintf(`{"orset":{"elements":[%s]}}`, texts(d.Orset.GetAdded()))
	case *crdt.CrdtDelta_Lwwregister:
		return fmt.Sprintf(`{"lwwregister":{"value":%q}}`, anyString(d.Lwwregister.GetValue()))
	case *crdt.CrdtDelta_Flag:
		return fmt.Sprintf(`{"flag":{"value":%t}}`, d.Flag.GetValue())
	case *crdt.CrdtDelta_Vote:
		return fmt.Sprintf(`{"vote":{"selfVote":%t,"votesFor":%d,"totalVoters":%d}}`,
			d.Vote.GetSelfVote(), d.Vote.GetVotesFor(), d.Vote.GetTotalVoters())
	case *crdt.CrdtDelta_Ormap:
		var out []string
		for _, e := range d.Ormap.GetAdded() {
			out = append(out, fmt.Sprintf(`{"key":%q,"value":%s}`, anyString(e.GetKey()), stateJSON(e.GetDelta())))
		}
		slices.Sort(out)
		return fmt.Sprintf(`{"ormap":{"entries":[%s]}}`, strings.Join(out, ","))
	default:
		panic(fmt.Sprintf("no state: %v", state))
	}
}

// kindOf is what the beginning of an entity's id, and of a map's key, says.
func kindOf(id string) string {
	kind, _, _ := strings.Cut(id, "-")
	return kind
}

// updateJSON is the model's Update of a value. Its words are +n and -n (each also with a write consistency), add x,
// remove x, clear, set x (also with a clock and its value), enable, vote true; and in a map add key, remove key, clear,
// and a key with the step of its value.
func (s step) updateJSON(kind string) string {
	word, value := s.split()
	object := `{"` + strings.ToLower(kind) + `":`
	switch kind {
	case "GCounter":
		return object + counted("increment", strings.TrimPrefix(word, "+"), value)
	case "PNCounter":
		return object + counted("change", strings.TrimPrefix(word, "+"), value)
	case "GSet":
		return object + fmt.Sprintf(`{"add":%q}}`, value)
	case "LWWRegister":
		if parts := strings.Fields(value); len(parts) == 3 {
			return object + fmt.Sprintf(`{"value":%q,"clock":{"clockType":%d,"customClockValue":%q}}}`, parts[0], crdt.CrdtClock_value[parts[1]], parts[2])
		}
		return object + fmt.Sprintf(`{"value":%q}}`, value)
	case "Flag":
		return object + `{}}`
	case "Vote":
		return object + `{"selfVote":` + value + `}}`
	case "ORSet", "ORMap":
		switch word {
		case "add", "remove":
			return object + fmt.Sprintf(`{%q:%q}}`, word, value)
		case "clear":
			return object + `{"clear":true}}`
		}
		return object + fmt.Sprintf(`{"update":{"key":%q,"update":%s}}}`, word, step(value).updateJSON(kindOf(word)))
	default:
		panic("no replicated value: " + kind)
	}
}

// counted ends the Update of a counter. The model's enumerations have the protocol's numbers, if not its names.
func counted(field, n, consistency string) string {
	return fmt.Sprintf(`{%q:%q},"writeConsistency":%d}`, field, n, crdt.CrdtWriteConsistency_value[consistency])
}

// replicatedRequest is a Request to an entity, whose id says of which kind it is.
func (s *service) replicatedRequest(t testing.TB, id string, steps ...step) *anypb.Any {
	t.Helper()
	texts := make([]string, len(steps))
	for i, st := range steps {
		switch word, _ := st.split(); word {
		case "delete", "forward", "fail", "effect", "sync":
			texts[i] = st.json()
		default:
			texts[i] = `{"update":` + st.updateJSON(kindOf(id)) + `}`
		}
	}
	return s.any(t, modelC+"Request", fmt.Sprintf(`{"id":%q,"actions":[%s]}`, id, strings.Join(texts, ",")))
}

// replicatedResponse is a Response with a state, or without.
func (s *service) replicatedResponse(t testing.TB, state *crdt.CrdtDelta) *anypb.Any {
	t.Helper()
	if state == nil {
		return s.any(t, modelC+"Response", `{}`)
	}
	return s.any(t, modelC+"Response", `{"state":`+stateJSON(state)+`}`)
}
