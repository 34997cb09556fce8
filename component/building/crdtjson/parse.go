package crdtjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dapr-entities/entities/crdt"
)

// jsonType is the type URL of elements, keys and values.
const jsonType = "json"

// vocabulary of a type.
type vocabulary struct {
	name string
	// operations that may stand in one object. The first says of which type an entry of a map is, if typical.
	operations []string
	typical    bool
	examples   []string
}

var types = map[crdt.Kind]vocabulary{
	crdt.GCounter:    {"gcounter", []string{"increment"}, false, []string{`{"increment": 2}`}},
	crdt.PNCounter:   {"pncounter", []string{"increment", "decrement"}, true, []string{`{"increment": 2}`, `{"decrement": 1}`}},
	crdt.GSet:        {"gset", []string{"add"}, false, []string{`{"add": ["a"]}`}},
	crdt.ORSet:       {"orset", []string{"add", "remove", "clear"}, true, []string{`{"add": ["a"], "remove": ["b"]}`, `{"clear": true}`}},
	crdt.LWWRegister: {"lwwregister", []string{"set"}, true, []string{`{"set": "a"}`, `"a"`}},
	crdt.Flag:        {"flag", []string{"enable"}, true, []string{`{"enable": true}`, `true`}},
	crdt.ORMap:       {"ormap", []string{"put", "remove", "clear"}, true, []string{`{"put": {"k": {"increment": 1}}, "remove": ["l"]}`, `{"clear": true}`}},
	crdt.Vote:        {"vote", []string{"vote"}, true, []string{`{"vote": true}`, `false`}},
}

// example is what an error says to write.
func (v vocabulary) example() string { return strings.Join(v.examples, " or ") }

// Kind of the type with a name, 0 if there is none.
func Kind(name string) crdt.Kind {
	for k, t := range types {
		if t.name == name {
			return k
		}
	}
	return 0
}

// Name of a kind.
func Name(k crdt.Kind) string { return types[k].name }

// Parse reads an operation on a value of a kind, or a whole value where its type takes that. Errors are for whoever wrote
// it, and quote nothing but names of members.
func Parse(k crdt.Kind, data []byte) (*crdt.Update, error) {
	v, err := decode(data)
	if err != nil {
		return nil, err
	}
	return parse(k, &v, 0)
}

// parse reads an operation with so many maps around it.
func parse(k crdt.Kind, v *value, maps int) (*crdt.Update, error) {
	u, err := whole(k, v, maps > 0)
	if u != nil || err != nil {
		return u, err
	}
	of := types[k]
	if v.sort != object {
		return nil, fmt.Errorf("a %s takes an operation, not %v: write %s", of.name, v.sort, of.example())
	}
	u = &crdt.Update{Kind: k}
	for i := range v.members {
		m := &v.members[i]
		if !slices.Contains(of.operations, m.name) {
			return nil, fmt.Errorf("%s is no operation on a %s: write %s", quoted(m.name), of.name, of.example())
		}
		if err := operate(u, m, maps); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	switch {
	case len(v.members) == 0:
		return nil, fmt.Errorf("there is no operation on the %s: write %s", of.name, of.example())
	case k == crdt.PNCounter && len(v.members) > 1:
		return nil, errors.New("increment and decrement exclude each other")
	}
	if len(u.Removed) > 0 {
		added := make(map[crdt.Key]struct{}, len(u.Added))
		for _, k := range u.Added {
			added[k] = struct{}{}
		}
		for _, k := range u.Removed {
			if _, both := added[k]; both {
				return nil, errors.New("the same element is in add and in remove")
			}
		}
	}
	return u, nil
}

// whole reads a whole value, where the type takes it. Neither an update nor an error says that it is none.
func whole(k crdt.Kind, v *value, nested bool) (*crdt.Update, error) {
	switch {
	case nested:
	case k == crdt.LWWRegister && (v.sort != object || len(v.members) != 1 || v.members[0].name != "set"):
		return register(v)
	case k == crdt.Flag && v.sort == boolean:
		return flag(v)
	case k == crdt.Vote && v.sort == boolean:
		return &crdt.Update{Kind: k, Self: v.plain == "true"}, nil
	}
	return nil, nil
}

func operate(u *crdt.Update, m *member, maps int) (err error) {
	switch m.name {
	case "increment", "decrement":
		return count(u, m)
	case "add":
		u.Added, err = elements(&m.value)
	case "remove":
		u.Removed, err = elements(&m.value)
		for i := 0; err == nil && u.Kind == crdt.ORMap && i < len(m.list); i++ {
			if m.list[i].sort != text {
				err = fmt.Errorf("the keys of a map are strings, not %v", m.list[i].sort)
			}
		}
	case "clear":
		if m.plain != "true" || m.sort != boolean {
			return errors.New("write true")
		}
		u.Cleared = true
	case "put":
		u.Put, err = entries(&m.value, maps)
	case "set", "enable", "vote":
		var said *crdt.Update
		switch {
		case m.name == "set":
			said, err = register(&m.value)
		case m.sort != boolean:
			return fmt.Errorf("write true or false, not %v", m.sort)
		case m.name == "enable":
			said, err = flag(&m.value)
		default:
			said = &crdt.Update{Kind: crdt.Vote, Self: m.plain == "true"}
		}
		if err == nil {
			*u = *said
		}
	}
	return err
}

func count(u *crdt.Update, m *member) error {
	if m.sort != number || strings.ContainsAny(string(m.raw), ".eE") {
		return errors.New("write a whole number")
	}
	if strings.HasPrefix(m.plain, "-") {
		return errors.New("write a number that is not negative")
	}
	if u.Kind == crdt.GCounter {
		n, err := strconv.ParseUint(m.plain, 10, 64)
		if err != nil {
			return fmt.Errorf("write a number up to %d", uint64(math.MaxUint64))
		}
		u.Increment = n
		return nil
	}
	n, err := strconv.ParseInt(m.plain, 10, 64)
	if err != nil {
		return fmt.Errorf("write a number up to %d", math.MaxInt64)
	}
	if u.Change = n; m.name == "decrement" {
		u.Change = -n
	}
	return nil
}

// register keeps the value as it was written, without the spaces.
func register(v *value) (*crdt.Update, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, v.raw); err != nil {
		return nil, errors.New("it is not JSON")
	}
	return &crdt.Update{Kind: crdt.LWWRegister, Value: crdt.MakeKey(jsonType, b.Bytes())}, nil
}

func flag(v *value) (*crdt.Update, error) {
	if v.plain != "true" {
		return nil, errors.New("a flag that is on stays on; delete it instead")
	}
	return &crdt.Update{Kind: crdt.Flag, On: true}, nil
}

func keyOf(v *value) crdt.Key { return crdt.MakeKey(jsonType, v.append(nil)) }

// elements are those of a list, each once.
func elements(v *value) ([]crdt.Key, error) {
	if v.sort != array {
		return nil, fmt.Errorf("write an array, not %v", v.sort)
	}
	keys, seen := make([]crdt.Key, 0, len(v.list)), make(map[crdt.Key]struct{}, len(v.list))
	for i := range v.list {
		k := keyOf(&v.list[i])
		if _, twice := seen[k]; !twice {
			seen[k] = struct{}{}
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func entries(v *value, maps int) ([]crdt.Entry, error) {
	if v.sort != object {
		return nil, fmt.Errorf("write an object with an operation for each key, not %v", v.sort)
	}
	if maps++; maps > crdt.MaxDepth {
		return nil, fmt.Errorf("there are more than %d maps around a value", crdt.MaxDepth)
	}
	list := make([]crdt.Entry, len(v.members))
	for i := range v.members {
		m := &v.members[i]
		k, operations, err := typed(&m.value)
		if err == nil {
			list[i].Update, err = parse(k, operations, maps)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quoted(m.name), err)
		}
		list[i].Key = crdt.MakeKey(jsonType, appendText(nil, m.name))
	}
	return list, nil
}

// typed tells of which kind the value is on which an operation within a map is, and takes that off.
func typed(v *value) (crdt.Kind, *value, error) {
	if v.sort != object {
		return 0, nil, fmt.Errorf(`a map's entry takes an operation, not %v: write {"set": …} for a register`, v.sort)
	}
	if i := slices.IndexFunc(v.members, func(m member) bool { return m.name == "type" }); i >= 0 {
		k := Kind(v.members[i].plain)
		if k == 0 || v.members[i].sort != text {
			return 0, nil, fmt.Errorf("the type is none of %s", strings.Join(names(), ", "))
		}
		return k, &value{sort: object, members: slices.Delete(slices.Clone(v.members), i, i+1)}, nil
	}
	for _, m := range v.members {
		for k, t := range types {
			if t.typical && (t.operations[0] == m.name || m.name == "decrement" && k == crdt.PNCounter) {
				return k, v, nil
			}
		}
	}
	if len(v.members) > 0 && (v.members[0].name == "remove" || v.members[0].name == "clear") {
		return 0, nil, errors.New(`it may be an orset or an ormap: add "type": "orset" or "type": "ormap"`)
	}
	return 0, nil, errors.New("there is no operation that it would be of: increment, decrement, add, set, enable, put or vote")
}

func names() []string {
	var list []string
	for k := crdt.GCounter; k <= crdt.Vote; k++ {
		list = append(list, types[k].name)
	}
	return list
}
