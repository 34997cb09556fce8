package crdt

import (
	"strings"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/replicated"
)

// newData makes what the prefix of an id or a key says.
func newData(key string) data {
	prefix, _, _ := strings.Cut(key, "-")
	switch prefix {
	case "GCounter":
		return new(replicated.GCounter)
	case "PNCounter":
		return new(replicated.Counter)
	case "GSet":
		return new(replicated.GSet[string])
	case "ORSet":
		return new(replicated.Set[string])
	case "LWWRegister":
		return new(replicated.Register[string])
	case "Flag":
		return new(replicated.Flag)
	case "ORMap":
		return replicated.NewMap(newData)
	case "Vote":
		return new(replicated.Vote)
	default:
		return nil
	}
}

// update carries out an update, if there is one.
func update(t *turn, u *Update) error {
	if u == nil {
		return nil
	}
	t.Write(replicated.Level(u.GetWriteConsistency()))
	return change(t.Data(), u)
}

func change(d data, u *Update) error {
	switch d := d.(type) {
	case *replicated.GCounter:
		d.Add(u.GetGcounter().GetIncrement())
	case *replicated.Counter:
		d.Add(u.GetPncounter().GetChange())
	case *replicated.GSet[string]:
		d.Add(u.GetGset().GetAdd())
	case *replicated.Set[string]:
		switch a := u.GetOrset().GetAction().(type) {
		case *ORSetUpdate_Add:
			d.Add(a.Add)
		case *ORSetUpdate_Remove:
			d.Remove(a.Remove)
		case *ORSetUpdate_Clear:
			d.Clear()
		}
	case *replicated.Register[string]:
		d.SetAt(u.GetLwwregister().GetValue(), clockOf(u.GetLwwregister().GetClock()))
	case *replicated.Flag:
		d.Enable()
	case *replicated.Map[string, data]:
		switch a := u.GetOrmap().GetAction().(type) {
		case *ORMapUpdate_Add:
			d.At(a.Add)
		case *ORMapUpdate_Update:
			return change(d.At(a.Update.GetKey()), a.Update.GetUpdate())
		case *ORMapUpdate_Remove:
			d.Remove(a.Remove)
		case *ORMapUpdate_Clear:
			d.Clear()
		}
	case *replicated.Vote:
		d.Cast(u.GetVote().GetSelfVote())
	default:
		return sdk.Errorf(sdk.CodeInvalidArgument, "the id or key does not begin with the name of a type")
	}
	return nil
}

func clockOf(c *LWWRegisterClock) replicated.Clock {
	switch c.GetClockType() {
	case LWWRegisterClockType_REVERSE:
		return replicated.ReverseClock()
	case LWWRegisterClockType_CUSTOM:
		return replicated.CustomClock(c.GetCustomClockValue())
	case LWWRegisterClockType_CUSTOM_AUTO_INCREMENT:
		return replicated.AutoIncrementClock(c.GetCustomClockValue())
	default:
		return replicated.Clock{}
	}
}

// stateOf is the whole data.
func stateOf(d data) *State {
	switch d := d.(type) {
	case *replicated.GCounter:
		return &State{Value: &State_Gcounter{Gcounter: &GCounterValue{Value: d.Value()}}}
	case *replicated.Counter:
		return &State{Value: &State_Pncounter{Pncounter: &PNCounterValue{Value: d.Value()}}}
	case *replicated.GSet[string]:
		v := new(GSetValue)
		for e := range d.All() {
			v.Elements = append(v.Elements, e)
		}
		return &State{Value: &State_Gset{Gset: v}}
	case *replicated.Set[string]:
		v := new(ORSetValue)
		for e := range d.All() {
			v.Elements = append(v.Elements, e)
		}
		return &State{Value: &State_Orset{Orset: v}}
	case *replicated.Register[string]:
		return &State{Value: &State_Lwwregister{Lwwregister: &LWWRegisterValue{Value: d.Value()}}}
	case *replicated.Flag:
		return &State{Value: &State_Flag{Flag: &FlagValue{Value: d.Enabled()}}}
	case *replicated.Map[string, data]:
		v := new(ORMapValue)
		for key, value := range d.All() {
			v.Entries = append(v.Entries, &ORMapEntryValue{Key: key, Value: stateOf(value)})
		}
		return &State{Value: &State_Ormap{Ormap: v}}
	case *replicated.Vote:
		return &State{Value: &State_Vote{Vote: &VoteValue{
			SelfVote: d.Self(), VotesFor: int32(d.Votes()), TotalVoters: int32(d.Voters()),
		}}}
	default:
		return nil
	}
}
