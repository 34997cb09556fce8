package crdtjson

import (
	"cmp"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/dapr-entities/entities/crdt"
)

// Render returns the JSON of a whole value. Elements and keys are sorted: numbers by what they are worth, strings by their
// bytes. A value of nothing that Parse has made becomes null.
func Render(u *crdt.Update) []byte { return appendValue(nil, u) }

func appendValue(b []byte, u *crdt.Update) []byte {
	switch u.Kind {
	case crdt.GCounter:
		return strconv.AppendUint(b, u.Increment, 10)
	case crdt.PNCounter:
		return strconv.AppendInt(b, u.Change, 10)
	case crdt.GSet, crdt.ORSet:
		return appendElements(b, u.Added)
	case crdt.LWWRegister:
		return append(b, written(u.Value)...)
	case crdt.Flag:
		return strconv.AppendBool(b, u.On)
	case crdt.Vote:
		b = strconv.AppendUint(append(b, `{"for":`...), uint64(u.Votes), 10)
		b = strconv.AppendUint(append(b, `,"total":`...), uint64(u.Voters), 10)
		return append(strconv.AppendBool(append(b, `,"self":`...), u.Self), '}')
	case crdt.ORMap:
		entries := slices.Clone(u.Put)
		slices.SortFunc(entries, func(x, y crdt.Entry) int { return strings.Compare(written(x.Key), written(y.Key)) })
		b = append(b, '{')
		for i, e := range entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(append(append(b, written(e.Key)...), ':'), e.Update)
		}
		return append(b, '}')
	default:
		return append(b, "null"...)
	}
}

// written is the JSON in a key.
func written(k crdt.Key) string {
	url, data := k.Split()
	if url != jsonType {
		return "null"
	}
	return data
}

func appendElements(b []byte, keys []crdt.Key) []byte {
	type element struct {
		json string
		sort sort
		// worth of a number.
		worth *big.Float
	}
	elements := make([]element, len(keys))
	for i, k := range keys {
		e := &elements[i]
		e.json = written(k)
		if e.sort = sortOf(e.json); e.sort == number {
			e.worth, _ = new(big.Float).SetPrec(256).SetString(e.json)
		}
	}
	slices.SortFunc(elements, func(x, y element) int {
		if x.sort == number && y.sort == number {
			return cmp.Or(x.worth.Cmp(y.worth), strings.Compare(x.json, y.json))
		}
		return cmp.Or(cmp.Compare(x.sort, y.sort), strings.Compare(x.json, y.json))
	})
	b = append(b, '[')
	for i := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, elements[i].json...)
	}
	return append(b, ']')
}

func sortOf(json string) sort {
	switch json[0] {
	case 'n':
		return null
	case 't', 'f':
		return boolean
	case '"':
		return text
	case '[':
		return array
	case '{':
		return object
	default:
		return number
	}
}
