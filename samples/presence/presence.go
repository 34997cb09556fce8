// Package presence is a sample: chat rooms that know who is online, how much each has not read, and when each was last
// seen, as replicated entities. A room is on every node, so it goes on where a node is cut off from the others, and what
// was done on both sides is there when they meet again. cmd/presence serves it.
package presence

import (
	"context"
	"slices"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/replicated"
)

const service = "chat.v1.Presence"

// The methods that callers and the entity share. The entity's id is the name of the room.
const (
	// Join makes somebody online for as long as the caller listens, and tells of everything that happens in the room.
	Join sdk.StreamOut[Visit, View] = service + "/Join"
	// Post tells that somebody said something: all others who have ever been here have one more to read.
	Post sdk.Method[Person, struct{}] = service + "/Post"
	// Read tells that somebody has read everything.
	Read sdk.Method[Person, struct{}] = service + "/Read"
	// Leave ends a visit whose node is gone and could not end it.
	Leave sdk.Method[Visit, struct{}] = service + "/Leave"
	// Look shows the room to somebody who does not join it.
	Look sdk.Method[Person, View] = service + "/Look"
)

// Person is somebody by name.
type Person struct {
	Name string `json:"name"`
}

// Visit is one person on one device, or in one window. Who has two of them is online until both have ended.
type Visit struct {
	Name   string `json:"name"`
	Device string `json:"device"`
}

// View of a room, as one person sees it.
type View struct {
	// Online are the names of who is here, each once, in order.
	Online []string `json:"online"`
	// Unread is how much the person has to read.
	Unread int64 `json:"unread"`
	// Seen has when those who are not here were.
	Seen map[string]time.Time `json:"seen,omitempty"`
}

// The parts of a room, by their keys.
type (
	visits = *replicated.Set[Visit]
	unread = *replicated.Map[string, *replicated.Counter]
	seen   = *replicated.Map[string, *replicated.Register[time.Time]]
)

type (
	room = *replicated.Map[string, replicated.Data]
	turn = replicated.Turn[room]
)

func newRoom(string) room {
	return replicated.NewMap(func(part string) replicated.Data {
		switch part {
		case "visits":
			return new(replicated.Set[Visit])
		case "unread":
			return new(replicated.Map[string, *replicated.Counter])
		case "seen":
			return new(replicated.Map[string, *replicated.Register[time.Time]])
		default: // of a later version of this program
			return nil
		}
	})
}

// Rooms is the definition of the service.
var Rooms = replicated.Entity[room]{
	Service: service,
	New:     newRoom,
	Commands: []replicated.Command[room]{
		replicated.Stream(Join, replicated.Watch[room, Visit, View]{
			Open: open,
			Next: func(r room, v Visit) (out View, send, more bool) { return viewOf(r, v.Name), true, true },
			Done: func(_ context.Context, t *turn, v Visit) { leave(t, v) },
		}),
		replicated.Handle(Post, post),
		replicated.Handle(Read, read),
		replicated.Handle(Leave, func(_ context.Context, t *turn, v Visit) (struct{}, error) {
			leave(t, v)
			return struct{}{}, nil
		}),
		replicated.Read(Look, func(_ context.Context, r room, p Person) (View, error) { return viewOf(r, p.Name), nil }),
	},
}

func open(_ context.Context, t *turn, v Visit) error {
	if v.Name == "" {
		return sdk.Errorf(sdk.CodeInvalidArgument, "the name is missing")
	}
	t.Data().At("visits").(visits).Add(v)
	t.Data().At("unread").(unread).At(v.Name) // from now on there is something to read
	return nil
}

func leave(t *turn, v Visit) {
	t.Data().At("visits").(visits).Remove(v)
	t.Data().At("seen").(seen).At(v.Name).Set(time.Now().UTC().Truncate(time.Second))
}

func post(_ context.Context, t *turn, p Person) (struct{}, error) {
	for name, n := range t.Data().At("unread").(unread).All() {
		if name != p.Name {
			n.Add(1)
		}
	}
	return struct{}{}, nil
}

// Reading takes away what this node knows to be unread: what somebody says elsewhere meanwhile stays unread.
func read(_ context.Context, t *turn, p Person) (struct{}, error) {
	n, ok := t.Data().At("unread").(unread).Get(p.Name)
	if !ok {
		return struct{}{}, sdk.Errorf(sdk.CodeNotFound, "%s has never been in the room %s", p.Name, t.ID())
	}
	n.Add(-n.Value())
	return struct{}{}, nil
}

func viewOf(r room, name string) View {
	v := View{Online: []string{}}
	if part, ok := r.Get("visits"); ok {
		for visit := range part.(visits).All() {
			v.Online = append(v.Online, visit.Name)
		}
		slices.Sort(v.Online)
		v.Online = slices.Compact(v.Online)
	}
	if part, ok := r.Get("unread"); ok {
		if n, ok := part.(unread).Get(name); ok {
			v.Unread = n.Value()
		}
	}
	if part, ok := r.Get("seen"); ok {
		for name, at := range part.(seen).All() {
			if _, online := slices.BinarySearch(v.Online, name); !online {
				if v.Seen == nil {
					v.Seen = make(map[string]time.Time)
				}
				v.Seen[name] = at.Value()
			}
		}
	}
	return v
}
