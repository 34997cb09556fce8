package postgres

import (
	"database/sql/driver"
	"slices"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

func values(list ...driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(list))
	for i, v := range list {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

// arguments are the parameters of a statement that writes plans, which are in the order of their streams, and the cheapest
// one that does: moveSQL if it can, appendEffectsSQL only if there are effects.
func arguments(plans []*plan, whole bool) (statement string, args []driver.NamedValue) {
	// The numbers are guesses that spare most of the growing.
	n := 2 * len(plans)
	text, number, small := 48*n, 12*n, 8*n
	var (
		services, ids      = newArray(oidText, text), newArray(oidText, text)
		expected, epoch    = newArray(oidInt8, number), newArray(oidInt8, number)
		added              = newArray(oidInt4, small)
		cSlot              = newArray(oidInt4, small)
		cCommand           = newArray(oidText, text)
		cHash, cOutcome    = newArray(oidBytea, 20*n), newArray(oidBytea, 4*text)
		cSequence          = newArray(oidInt8, number)
		eSlot, eSequence   = newArray(oidInt4, small), newArray(oidInt8, number)
		eName, eType       = newArray(oidText, text), newArray(oidText, text)
		eContent, eData    = newArray(oidText, text), newArray(oidBytea, 8*text)
		eCommand, eContext = newArray(oidText, text), newArray(oidText, small)
		eSum               = newArray(oidInt8, number)
		sSlot, sSequence   = newArray(oidInt4, 0), newArray(oidInt8, 0)
		sType, sContent    = newArray(oidText, 0), newArray(oidText, 0)
		sData, sSum        = newArray(oidBytea, 0), newArray(oidInt8, 0)
		slot               int
		effects            bool
		known              = !whole
	)
	for i, p := range plans {
		slot = i + 1
		known = known && p.expected > 0
		services.text(p.Ref.Service)
		ids.text(p.Ref.ID)
		expected.int8(p.expected)
		epoch.int8(p.epoch)
		added.int4(p.added)
		at := p.expected
		var snapshot *journal.Snapshot
		for _, a := range p.Appends[:p.n] {
			for _, e := range a.Events {
				at++
				e.Ref, e.Sequence, e.Command = p.Ref, at, a.Command
				eSlot.int4(slot)
				eSequence.int8(at)
				eName.text(e.Name)
				eType.text(e.Payload.TypeURL)
				eContent.text(e.Payload.ContentType)
				eData.bytes(e.Payload.Data)
				eCommand.text(e.Command)
				if origin := rules.EncodeContext(e.Context); origin != nil {
					eContext.bytes(origin)
				} else {
					eContext.null()
				}
				eSum.int8(int64(e.Checksum()))
			}
			if a.Record != nil {
				cSlot.int4(slot)
				cCommand.text(a.Command)
				cHash.bytes(a.Record.Hash[:])
				cOutcome.bytes(a.Record.Outcome)
				cSequence.int8(at)
			}
			effects = effects || len(a.Effects) > 0
			if a.Snapshot != nil { // the newest stays
				snapshot = &journal.Snapshot{Sequence: at, Payload: *a.Snapshot}
			}
		}
		if snapshot != nil {
			sSlot.int4(slot)
			sSequence.int8(snapshot.Sequence)
			sType.text(snapshot.Payload.TypeURL)
			sContent.text(snapshot.Payload.ContentType)
			sData.bytes(snapshot.Payload.Data)
			sSum.int8(int64(snapshot.Checksum(p.Ref)))
		}
	}
	heads := []driver.Value{services.encode(), ids.encode(), expected.encode(), epoch.encode(), added.encode()}
	records := []driver.Value{cSlot.encode(), cCommand.encode(), cHash.encode(), cOutcome.encode(), cSequence.encode()}
	events := []driver.Value{
		eSlot.encode(), eSequence.encode(), eName.encode(), eType.encode(), eContent.encode(), eData.encode(),
		eCommand.encode(), eContext.encode(), eSum.encode(),
	}
	snapshots := []driver.Value{
		sSlot.encode(), sSequence.encode(), sType.encode(), sContent.encode(), sData.encode(), sSum.encode(),
	}
	switch {
	case known && !effects && cSlot.n+sSlot.n == 0:
		return moveSQL, values(slices.Concat(heads, events)...)
	case known && !effects:
		return moveKeptSQL, values(slices.Concat(heads, events, records, snapshots)...)
	}
	required := int64(-1)
	if whole {
		required = int64(len(plans))
	}
	list := slices.Concat(heads, records, events, snapshots, []driver.Value{required})
	if !effects {
		return appendSQL, values(list...)
	}
	kept := newKeeping()
	for i, p := range plans {
		kept.add(i+1, rules.KeepAll(p.Ref, p.Appends[:p.n]))
	}
	return appendEffectsSQL, values(append(list, kept.encode()...)...)
}
