package operations

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/actors/journal"
)

// What becomes of cells elsewhere, by the beginnings of their keys; the longest one counts.
//
//	ent/, of/                      copies of replicated entities: as they are
//	slot/                          the epochs that nodes have used up must not be used again: those, without who holds them
//	slots/                         the group, with another cluster id and no members
//	cursor/                        how far a consumer is: at the same place among the events
//	parked/feed/, released/feed/   events that were given up: with the positions that they have there
//	parked/                        messages that were given up: as they are
//	lease/, member/, import/       who does what now: not at all
type fate uint8

const (
	unknownFate fate = iota
	copied
	freed
	grouped
	cursored
	repositioned
	dropped
)

var fates = []struct {
	prefix string
	fate   fate
}{
	{"parked/feed/", repositioned}, {"released/feed/", repositioned},
	{"parked/", copied}, {"ent/", copied}, {"of/", copied},
	{slotPrefix, freed}, {groupPrefix, grouped}, {cursorPrefix, cursored},
	{"lease/", dropped}, {"member/", dropped}, {importPrefix, dropped},
}

const (
	cursorPrefix = "cursor/"
	slotPrefix   = "slot/"
	groupPrefix  = "slots/"
	importPrefix = "import/"
)

func fateOf(key string) fate {
	for _, f := range fates {
		if strings.HasPrefix(key, f.prefix) {
			return f.fate
		}
	}
	return unknownFate
}

// word is the first one of a key.
func word(key string) string {
	w, _, _ := strings.Cut(key, "/")
	return w
}

// placedValue is the value of a cell that holds a position among other things.
type placedValue map[string]json.RawMessage

func parsePlaced(value []byte) (v placedValue, at journal.Position, ok bool) {
	var p positionForm
	if json.Unmarshal(value, &v) != nil || json.Unmarshal(value, &p) != nil || v["ordinal"] == nil {
		return nil, at, false
	}
	return v, journal.Position(p), true
}

// without is the value without its position.
func (v placedValue) without() placedValue {
	v = maps.Clone(v)
	delete(v, "transaction")
	delete(v, "ordinal")
	return v
}

// at is the value with a position.
func (v placedValue) at(p journal.Position) ([]byte, error) {
	v = maps.Clone(v)
	transaction, err := json.Marshal(p.Transaction)
	if err != nil {
		return nil, err
	}
	ordinal, err := json.Marshal(p.Ordinal)
	if err != nil {
		return nil, err
	}
	v["transaction"], v["ordinal"] = transaction, ordinal
	return json.Marshal(v)
}

// freeSlot is the value of a slot's cell without who holds it.
func freeSlot(value []byte) ([]byte, error) {
	var v map[string]json.RawMessage
	if err := json.Unmarshal(value, &v); err != nil {
		return nil, err
	}
	maps.DeleteFunc(v, func(field string, _ json.RawMessage) bool {
		return !slices.Contains([]string{"epoch", "retired"}, field)
	})
	return json.Marshal(v)
}

// epochOf is the one that a slot's cell says was used last.
func epochOf(value []byte) (epoch uint64, ok bool) {
	var v struct {
		Epoch uint64 `json:"epoch"`
	}
	err := json.Unmarshal(value, &v)
	return v.Epoch, err == nil && v.Epoch > 0
}
