// Package value defines entities whose state is one value, stored whole.
//
// An Entity is a value itself: a table of the commands of one service.
//
//	var Entity = value.Entity[Profile]{
//		Service: "chat.v1.Profile",
//		Commands: []value.Command[Profile]{
//			value.Handle(Rename, rename),
//			value.Read(Show, show),
//		},
//	}
//
// A handler bound by Handle gets a Turn, with which it looks at the value, replaces it or deletes it; what it did last is
// stored before the caller hears of it. A handler bound by Read gets the value and no Turn, so it cannot write.
//
// Values are stored as they travel: plain Go types as JSON by encoding/json, generated protobuf messages as protobuf.
// JSON payloads are named after what they belong to: "state" for the value, "<Method>.in" and "<Method>.out" of a
// command. A value that was stored must be readable for ever, so fields are added, and neither renamed nor given another
// meaning.
package value
