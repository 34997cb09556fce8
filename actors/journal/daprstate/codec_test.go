package daprstate

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func fullHead() *head {
	at := time.UnixMicro(1e15).UTC()
	return &head{
		ref: actors.Ref{Service: "s", ID: "i"}, exists: true, at: journal.Head{Sequence: 34, Epoch: 2}, updated: at,
		origin: 1, floor: 2, cleared: 0, round: 7, opened: 30, wanted: true, sealed: 32,
		events: []event{
			{Event: journal.Event{Sequence: 33, Name: "n", Command: "c", Time: at, Context: journal.Context{Caller: "a"}}, data: data{inline: []byte("x")}, sum: 1},
			{Event: journal.Event{Sequence: 34}, data: data{big: big{"name", 5000}}},
		},
		spilled: 1, life: 2, remains: []remains{{1, 3}},
		records:  []command{{"c", [16]byte{1}, 33, data{inline: []byte("o")}}},
		snapshot: &snapshot{sequence: 33, payload: actors.Payload{TypeURL: "t"}, data: data{inline: []byte("s")}, sum: 9},
		effects:  []effect{{id: "e", key: "k", delayed: true, due: at, since: at, tries: 3, problem: "p", body: data{inline: []byte("b")}}},
		intent:   &intent{"t", []byte("next")},
	}
}

// What is decoded is encoded as it was, whatever it is: nothing is dropped, and nothing panics.
func FuzzHead(f *testing.F) {
	f.Add(fullHead().encode())
	f.Add((&head{}).encode())
	f.Add([]byte{1, 's', 1, 'i', 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		d := decoder{data: body}
		ref := d.ref()
		h, err := decodeHeadBody(body, ref)
		if err != nil {
			return
		}
		again, err := decodeHeadBody(h.encode(), ref)
		if err != nil || !bytes.Equal(again.encode(), h.encode()) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	r := record{key: "k", etag: "1"}
	one := r.encode(token(), []byte("body"))
	f.Add(one)
	f.Add([]byte{})
	f.Add(one[:len(one)-4])
	f.Fuzz(func(t *testing.T, value []byte) {
		_, _ = decodeRecord(Item{Key: "k", Value: value, ETag: "1"})
		e := encoder{bytes.Clone(value)}
		e.fixed(crcOf(value)) // as if it were what was written
		r, err := decodeRecord(Item{Key: "k", Value: e.data, ETag: "1"})
		if err != nil {
			return
		}
		next, err := decodeRecord(Item{Key: "k", Value: r.encode("12345678", r.body), ETag: "2"})
		if err != nil || next.version != r.version+1 || next.tokens[len(next.tokens)-1] != "12345678" || !bytes.Equal(next.body, r.body) {
			t.Errorf("%+v is followed by %+v, %v", r, next, err)
		}
	})
}

func FuzzPages(f *testing.F) {
	o := &order{rounds: 3, first: 65, runs: []run{{actors.Ref{Service: "s", ID: "i"}, 1, 3}}, open: []open{{actors.Ref{Service: "s", ID: "i"}, 2, 5, -1}}}
	p := &page{level: 1, counter: 9, high: "z", next: "n", entries: []entry{{"a", []byte("1")}, {"b", nil}}}
	f.Add(o.encode())
	f.Add(p.encode())
	f.Add(wish{3, time.UnixMicro(1)}.encode())
	f.Add(encodeCell(3, data{inline: []byte("v")}))
	var e encoder
	e.events(fullHead().events)
	e.fixed(crcOf(e.data))
	f.Add(e.data)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := record{key: "k", version: 1, body: body}
		if o, err := decodeOrder(r); err == nil {
			if again, err := decodeOrder(record{version: 1, body: o.encode()}); err != nil || !bytes.Equal(again.encode(), o.encode()) {
				t.Errorf("order %+v, %v", o, err)
			}
		}
		if p, err := decodePage(r); err == nil {
			if again, err := decodePage(record{version: 1, body: p.encode()}); err != nil || !bytes.Equal(again.encode(), p.encode()) {
				t.Errorf("page %+v, %v", p, err)
			}
		}
		decodeWish(body)
		_, _, _ = decodeCell(body)
		decodeSegment(body)
		_, _ = decodeCommand(body, actors.Ref{}, "")
	})
}

// Keys are made of what every state store takes, stay below its limits, and no two things have the same.
func TestKeys(t *testing.T) {
	t.Parallel()
	j := &Journal{config: Config{}.withDefaults()}
	text := rapid.OneOf(rapid.StringN(1, 60, -1), rapid.StringMatching(`[a-c/|~=.%]{1,4}`), rapid.StringMatching(`[aA]{70,90}`))
	seen := map[string]actors.Ref{}
	rapid.Check(t, func(t *rapid.T) {
		ref := actors.Ref{Service: text.Draw(t, "service"), ID: text.Draw(t, "id")}
		key := j.headKey(ref)
		if other, ok := seen[key]; ok && other != ref {
			t.Fatalf("%q and %q have the key %s", ref, other, key)
		}
		seen[key] = ref
		longest := j.commandKey(ref, 1<<40, strings.Repeat("c", journal.MaxCommandBytes))
		if len(longest) > 230 || strings.Contains(longest, "||") || strings.Trim(longest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_=~/") != "" {
			t.Fatalf("%d bytes: %s", len(longest), longest)
		}
	})
}
