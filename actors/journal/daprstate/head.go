package daprstate

import (
	"fmt"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// head is the record of a stream, all that decides over appends to it. Whatever an append does, it does by saving this one
// record.
type head struct {
	ref actors.Ref
	// exists is false of one that only stands in the way of late writers, or holds effects of a source that is no stream.
	exists  bool
	at      journal.Head
	updated time.Time
	// origin and floor are those of journal.Span. Below cleared, what was forgotten is also out of the store.
	origin, floor, cleared int64
	// round is the one in which the stream stands in the feed's list of open streams, 0 if it does not; up to opened its
	// events were in the feed when it was opened. See feed.
	round, opened int64
	// wanted says that the index of effects has the stream among those to be looked at, as soon as an effect is due.
	wanted bool
	// sealed is how many events are in segments; the others follow here.
	sealed int64
	events []event
	// spilled is how many times command records got keys of their own, under the number of the stream's life, which grows
	// when it is erased; the others are here.
	spilled, life int64
	// remains of earlier lives are still in the store.
	remains  []remains
	records  []command
	snapshot *snapshot
	effects  []effect
	// intent of a transaction over several streams.
	intent *intent
}

type event struct {
	journal.Event // without Ref and payload's bytes
	data          data
	sum           uint32
}

type command struct {
	id       string
	hash     [16]byte
	sequence int64
	outcome  data
}

type snapshot struct {
	sequence int64
	payload  actors.Payload // without bytes
	data     data
	sum      uint32
}

type effect struct {
	id, key         string
	delayed, parked bool
	due             time.Time // zero for at once
	since           time.Time
	tries           int64
	problem         string
	body            data
}

// remains are the command records of a life that have keys of their own.
type remains struct{ life, spilled int64 }

// intent is what a transaction will make of the head, if it is committed.
type intent struct {
	transaction string
	next        []byte
}

// The sizes that keep a head small.
const (
	segmentEvents = 32
	inlineRecords = 32
	inlineBytes   = 2 << 10 // of one payload, outcome or body
	inlineTotal   = 256 << 10
	maxHeadBytes  = maxRecordBytes - 64<<10
)

func (h *head) encode() []byte {
	e := encoder{make([]byte, 0, 512)}
	e.ref(h.ref)
	e.flag(h.exists)
	e.number(h.at.Sequence)
	e.number(h.at.Epoch)
	e.time(h.updated)
	e.number(h.origin)
	e.number(h.floor)
	e.number(h.cleared)
	e.number(h.round)
	e.number(h.opened)
	e.flag(h.wanted)
	e.number(h.sealed)
	e.events(h.events)
	e.number(h.spilled)
	e.number(h.life)
	e.count(len(h.remains))
	for _, r := range h.remains {
		e.number(r.life)
		e.number(r.spilled)
	}
	e.count(len(h.records))
	for i := range h.records {
		e.command(&h.records[i])
	}
	e.flag(h.snapshot != nil)
	if s := h.snapshot; s != nil {
		e.number(s.sequence)
		e.payload(&s.payload)
		e.content(s.data)
		e.fixed(s.sum)
	}
	e.count(len(h.effects))
	for i := range h.effects {
		e.effect(&h.effects[i])
	}
	e.flag(h.intent != nil)
	if h.intent != nil {
		e.text(h.intent.transaction)
		e.bytes(h.intent.next)
	}
	return e.data
}

// decodeHead of a record of ref; of one that is not there, the head of a stream that does not exist.
func decodeHead(r record, ref actors.Ref) (*head, error) {
	h := &head{ref: ref}
	if r.version == 0 {
		return h, nil
	}
	return decodeHeadBody(r.body, ref)
}

func decodeHeadBody(body []byte, ref actors.Ref) (*head, error) {
	d := decoder{data: body}
	h := &head{ref: d.ref(), exists: d.flag()}
	h.at = journal.Head{Sequence: d.number(), Epoch: d.number()}
	h.updated = d.time()
	h.origin, h.floor, h.cleared = d.number(), d.number(), d.number()
	h.round, h.opened = d.number(), d.number()
	h.wanted = d.flag()
	h.sealed = d.number()
	h.events = d.events()
	h.spilled, h.life = d.number(), d.number()
	for range d.count() {
		h.remains = append(h.remains, remains{d.number(), d.number()})
	}
	for range d.count() {
		h.records = append(h.records, d.command())
	}
	if d.flag() {
		h.snapshot = &snapshot{sequence: d.number(), payload: d.payload(), data: d.content(), sum: d.fixed()}
	}
	for range d.count() {
		h.effects = append(h.effects, d.effect())
	}
	if d.flag() {
		h.intent = &intent{transaction: d.text(), next: d.bytes()}
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("%w: the head of %s", err, ref)
	}
	if h.ref != ref {
		return nil, fmt.Errorf("the state store takes the keys of %s and %s for one; use one that tells small letters from capitals", ref, h.ref)
	}
	return h, nil
}

func (e *encoder) events(events []event) {
	e.count(len(events))
	for i := range events {
		v := &events[i]
		e.number(v.Sequence)
		e.text(v.Name)
		e.payload(&v.Payload)
		e.content(v.data)
		e.time(v.Time)
		e.text(v.Command)
		c := &v.Context
		for _, s := range []string{c.Correlation, c.Causation, c.Traceparent, c.Caller} {
			e.text(s)
		}
		e.fixed(v.sum)
	}
}

func (d *decoder) events() []event {
	var events []event
	for range d.count() {
		var v event
		v.Sequence, v.Name, v.Payload = d.number(), d.text(), d.payload()
		v.data = d.content()
		v.Time, v.Command = d.time(), d.text()
		v.Context = journal.Context{Correlation: d.text(), Causation: d.text(), Traceparent: d.text(), Caller: d.text()}
		v.sum = d.fixed()
		if d.bad {
			return nil
		}
		events = append(events, v)
	}
	return events
}

func (e *encoder) command(c *command) {
	e.text(c.id)
	e.raw(c.hash[:])
	e.number(c.sequence)
	e.content(c.outcome)
}

func (d *decoder) command() command {
	c := command{id: d.text()}
	copy(c.hash[:], d.take(16))
	c.sequence, c.outcome = d.number(), d.content()
	return c
}

func (e *encoder) effect(v *effect) {
	e.text(v.id)
	e.text(v.key)
	e.flag(v.delayed)
	e.flag(v.parked)
	e.time(v.due)
	e.time(v.since)
	e.number(v.tries)
	e.text(v.problem)
	e.content(v.body)
}

func (d *decoder) effect() effect {
	return effect{
		id: d.text(), key: d.text(), delayed: d.flag(), parked: d.flag(), due: d.time(), since: d.time(),
		tries: d.number(), problem: d.text(), body: d.content(),
	}
}

// seal moves full segments of committed events out of a head: what a segment holds is settled by its number and by events
// that are committed, so it does no harm if one who is late writes it once more. Records go the same way. It returns what
// has to be put before the head is saved.
func (h *head) seal(j *Journal) []Item {
	var items []Item
	for h.at.Sequence-h.sealed >= segmentEvents {
		n := 0 // some may be forgotten
		for n < len(h.events) && h.events[n].Sequence <= h.sealed+segmentEvents {
			n++
		}
		if n > 0 {
			var e encoder
			e.events(h.events[:n])
			e.fixed(crcOf(e.data))
			items = append(items, Item{Key: j.segmentKey(h.ref, h.sealed/segmentEvents), Value: e.data})
			h.events = slices.Clone(h.events[n:])
		}
		h.sealed += segmentEvents
	}
	if len(h.records) >= inlineRecords {
		var names encoder
		names.count(len(h.records))
		for i := range h.records {
			var e encoder
			e.ref(h.ref)
			e.command(&h.records[i])
			e.fixed(crcOf(e.data))
			items = append(items, Item{Key: j.commandKey(h.ref, h.life, h.records[i].id), Value: e.data})
			names.text(h.records[i].id)
		}
		names.fixed(crcOf(names.data))
		items = append(items, Item{Key: j.namesKey(h.ref, h.life, h.spilled), Value: names.data})
		h.spilled++
		h.records = nil
	}
	return items
}

// record finds one among those that the head holds.
func (h *head) record(id string) *command {
	for i := range h.records {
		if h.records[i].id == id {
			return &h.records[i]
		}
	}
	return nil
}
