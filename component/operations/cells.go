package operations

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dapr-entities/entities/actors/journal"
)

// What becomes of cells elsewhere, by the beginnings of their keys; the longest one counts.
//
//	ent/, of/                      copies of replicated entities: as they are
//	slot/                          the epochs that nodes have used up must not be used again: those, without who holds them
//	slots/                         the group, with another cluster id and no members
//	cursor/, lane/, subscription/  how far consumers are: at the same place among the events
//	parked/feed/, released/feed/   events that were given up: with the positions that they have there
//	parked/                        messages that were given up: as they are
//	lease/, member/, retention/, import/   who does what now, and how far: not at all
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
	{slotPrefix, freed}, {groupPrefix, grouped}, {"cursor/", cursored}, {"lane/", cursored}, {"subscription/", cursored},
	{"lease/", dropped}, {"member/", dropped}, {"retention/", dropped}, {importPrefix, dropped},
}

const (
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

// place of a position in the value of a cell: the fields that lead to it.
type place struct {
	path []string
	at   journal.Position
}

// places finds the positions in a value, and takes them out of it.
func places(value any, path []string) (list []place) {
	switch v := value.(type) {
	case []any:
		for n := range v {
			list = append(list, places(v[n], append(path, strconv.Itoa(n)))...)
		}
	case map[string]any:
		if at, ok := positionOf(v); ok {
			list = append(list, place{slices.Clone(path), at})
			v["ordinal"], v["transaction"] = 0, 0
		}
		for _, field := range slices.Sorted(maps.Keys(v)) {
			list = append(list, places(v[field], append(path, field))...)
		}
	}
	return list
}

func positionOf(v map[string]any) (at journal.Position, ok bool) {
	ordinal, isOrdinal := v["ordinal"].(json.Number)
	transaction, isTransaction := v["transaction"].(json.Number)
	if !isOrdinal || !isTransaction {
		return at, false
	}
	var err1, err2 error
	at.Ordinal, err1 = strconv.ParseInt(ordinal.String(), 10, 64)
	at.Transaction, err2 = strconv.ParseUint(transaction.String(), 10, 64)
	return at, err1 == nil && err2 == nil
}

// put a position into a value, and report whether there is a place for it.
func put(value any, path []string, at journal.Position) bool {
	switch v := value.(type) {
	case []any:
		if len(path) == 0 {
			return false
		}
		n, err := strconv.Atoi(path[0])
		return err == nil && n >= 0 && n < len(v) && put(v[n], path[1:], at)
	case map[string]any:
		if len(path) > 0 {
			return put(v[path[0]], path[1:], at)
		}
		v["ordinal"], v["transaction"] = at.Ordinal, at.Transaction
		return true
	}
	return false
}

// document is JSON whose numbers are as they were.
func document(value []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
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
