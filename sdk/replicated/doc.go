// Package replicated defines entities whose data is on every node and may be changed on each of them at any time, without
// asking the others: the data is of types (CRDTs) whose copies come to the same value whatever order changes arrive in.
//
// An Entity is a value itself: a table of the commands of one service, and the type of the data.
//
//	type counter = *replicated.Counter
//
//	var Visits = replicated.Entity[counter]{
//		Service: "web.v1.Visits",
//		Commands: []replicated.Command[counter]{
//			replicated.Handle(Visit, visit),   // func(ctx, *replicated.Turn[counter], In) (Out, error)
//			replicated.Read(Count, count),     // func(ctx, counter, In) (Out, error)
//			replicated.Stream(Follow, replicated.Watch[counter, In, Out]{Next: next}),
//		},
//	}
//
// A handler changes the data by its methods. What a turn did goes to the other nodes as one change when it succeeds, and
// is taken back when it fails.
//
// # Data
//
//	*Counter          goes up and down
//	*GCounter         only goes up
//	*Set[E]           takes and loses elements; a concurrent addition wins over a removal
//	*GSet[E]          only takes elements
//	*Register[V]      holds one value, the last one by the clock of its writers
//	*Flag             is switched on once
//	*Vote             counts the nodes that say yes
//	*Map[K, D]        has data of type D for each key; a concurrent change wins over a removal
//	*Map[K, Data]     has data of a type that the key decides, see NewMap
//
// A node decides by what it knows. Two nodes may each sell the last seat: what must not happen twice belongs into an
// event-sourced entity, of which there is one at a time.
//
// # Elements, keys and values
//
// Strings, bools, ints, floats and []byte travel as the primitives of the protocol, generated protobuf messages as
// protobuf, and everything else as JSON with the keys of objects in order, named "element", "key" or "value". Others tell
// elements and keys apart by their encodings alone. So types whose encoding is not always the same are refused when the
// entity is registered: messages with map fields, json.RawMessage, interfaces. And so a field that is added to the type
// of an element leaves what was added before a different element for programs that do not know it; this package finds
// and removes both.
package replicated
