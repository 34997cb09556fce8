// Package eventsourced defines entities whose state is the fold of their events.
//
// An Entity is a value: a table of the commands and the events of one service.
//
//	var Entity = eventsourced.Entity[Cart]{
//		Service: "shop.v1.ShoppingCart",
//		Commands: []eventsourced.Command[Cart]{
//			eventsourced.Handle(AddItem, addItem),
//			eventsourced.Handle(GetCart, getCart),
//		},
//		Events: []eventsourced.Event[Cart]{
//			eventsourced.On("item-added", (*Cart).itemAdded),
//		},
//	}
//
// A command's handler looks at the state, refuses the command with an error, or emits events; it never changes the state
// itself. An event's applier changes the state; it cannot refuse, because the event has happened, and it must come to
// the same state whenever it runs: no clock, no random numbers, nothing from outside.
//
// Names are stored with every event, so they outlive renamed Go types. Plain Go structs travel and are stored as JSON by
// encoding/json, generated protobuf messages as protobuf. JSON payloads are named after what they belong to: the event's
// name, "<Method>.in" and "<Method>.out" of a command, "state" of a snapshot.
package eventsourced
