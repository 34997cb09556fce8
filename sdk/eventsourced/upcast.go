package eventsourced

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/codec"
)

// Upcaster reads events that are stored under a name, or in a shape, that the Entity no longer writes: Upcast and Renamed
// make them. What is stored is never rewritten, so an Upcaster stays for as long as there may be such events.
type Upcaster struct {
	name string // that is stored
	// An Upcast has all of these, a Renamed has to alone.
	old, new reflect.Type
	shape    shape
	convert  func(any) any
	to       string
	problems error
}

// Upcast reads events that were stored under the name in the shape of Old, as New: a type that On, or another Upcast,
// takes. So the conversions form a chain, each step of which is written once:
//
//	Upcasters: []eventsourced.Upcaster{
//		eventsourced.Upcast("item-added", func(e itemAdded1) itemAdded2 { … }),
//		eventsourced.Upcast("item-added.v2", func(e itemAdded2) itemAdded { … }), // which On takes, as "item-added.v3"
//	},
//
// Old and New are structs or pointers to generated protobuf messages. A JSON event needs a new name when it is reshaped,
// because nothing else tells its shapes apart. A protobuf event may keep its name if the message type is another one. A
// conversion must come to the same event whenever it runs, as an applier must.
func Upcast[Old, New any](name string, convert func(Old) New) Upcaster {
	olds, err := shapeOf[Old](name)
	u := Upcaster{
		name:    name,
		old:     reflect.TypeFor[Old](),
		new:     reflect.TypeFor[New](),
		shape:   olds,
		convert: func(event any) any { return convert(event.(Old)) },
	}
	problems := []error{checkName(name), err}
	if convert == nil {
		problems = append(problems, errors.New("the conversion is nil"))
	}
	u.problems = errors.Join(problems...)
	return u
}

// Renamed reads events that were stored under one name as if it were another one: that of an event or of another
// Upcaster.
func Renamed(from, to string) Upcaster {
	return Upcaster{name: from, to: to, problems: checkName(from)}
}

// shape is how events of one type are stored.
type shape struct {
	// Both are asked late: see codec.Codec.
	typeURL func() string
	message func() protoreflect.MessageDescriptor // of nil for JSON
	unpack  func(*anypb.Any) (any, error)
}

func shapeOf[E any](name string) (shape, error) {
	events, err := codec.For[E](name)
	if err == nil && reflect.TypeFor[E]().Kind() != reflect.Struct && !events.IsMessage() {
		err = fmt.Errorf("%v is neither a struct nor a pointer to a protobuf message", reflect.TypeFor[E]())
	}
	return shape{
		typeURL: events.TypeURL,
		message: events.Descriptor,
		unpack:  func(p *anypb.Any) (any, error) { return events.Unpack(p) },
	}, err
}

// source is one way in which an event may be stored, and what it takes to apply it.
type source[S any] struct {
	name    string
	typeURL string
	shape   shape
	steps   []func(any) any
	event   *Event[S]
}

// sources finds out how everything that may be stored comes to be applied.
func (k *kind[S]) sources(upcasters []Upcaster) (messages []protoreflect.MessageDescriptor, problems []error) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	k.stored, k.byURL = make(map[string][]*source[S]), make(map[string]*source[S])
	for _, v := range k.byName {
		k.add(&source[S]{name: v.name, typeURL: v.shape.typeURL(), shape: v.shape, event: v})
	}
	var sound []*Upcaster
	for i := range upcasters {
		u := &upcasters[i]
		switch {
		case u.old == nil && u.to == "":
			report("upcaster %d was made neither by Upcast nor by Renamed", i)
			continue
		case u.problems != nil:
			report("upcaster %q: %w", u.name, u.problems)
			continue
		}
		if clash := clashes(u, k.byName, sound); clash != "" {
			report("upcaster %q: %s", u.name, clash)
			continue
		}
		sound = append(sound, u)
		if u.old != nil {
			if m := u.shape.message(); m != nil {
				messages = append(messages, m)
			}
		}
	}
	for _, u := range sound {
		s := &source[S]{name: u.name}
		if err := k.follow(s, u, sound); err != nil {
			report("upcaster %q: %w", u.name, err)
			continue
		}
		k.add(s)
	}
	return messages, problems
}

func (k *kind[S]) add(s *source[S]) {
	k.stored[s.name] = append(k.stored[s.name], s)
	if k.byURL[s.typeURL] == nil {
		k.byURL[s.typeURL] = s
	}
}

// clashes says why nothing could tell the upcaster's events from those of an event or of another upcaster.
func clashes[S any](u *Upcaster, events map[string]*Event[S], others []*Upcaster) string {
	apart := func(a, b *shape) bool { return a.message() != nil && b.message() != nil && a.typeURL() != b.typeURL() }
	if v := events[u.name]; v != nil && (u.old == nil || !apart(&u.shape, &v.shape)) {
		return "an event has this name too; a reshaped JSON event needs a new one"
	}
	for _, other := range others {
		if other.name == u.name && (u.old == nil || other.old == nil || !apart(&u.shape, &other.shape)) {
			return "it is listed twice"
		}
	}
	return ""
}

// follow fills in the source of an upcaster: the chain to the event at its end.
func (k *kind[S]) follow(s *source[S], u *Upcaster, all []*Upcaster) error {
	path := []string{u.name}
	seen := map[*Upcaster]bool{u: true}
	for {
		if u.old != nil {
			if s.shape.unpack == nil {
				s.shape, s.typeURL = u.shape, u.shape.typeURL()
			}
			s.steps = append(s.steps, u.convert)
		}
		event, next, err := k.target(u, all)
		if err != nil {
			return err
		}
		if next == nil {
			if s.shape.unpack == nil {
				s.shape, s.typeURL = event.shape, event.shape.typeURL()
			}
			if s.shape.message() == nil {
				s.typeURL = codec.JSONPrefix + s.name
			}
			s.event = event
			return nil
		}
		path = append(path, next.name)
		if seen[next] {
			return fmt.Errorf("it goes round in a circle: %s", strings.Join(path, " → "))
		}
		seen[next] = true
		u = next
	}
}

// target is the event, or else the upcaster, that takes what u makes.
func (k *kind[S]) target(u *Upcaster, all []*Upcaster) (*Event[S], *Upcaster, error) {
	what := fmt.Sprintf("%v", u.new)
	event := k.byType[u.new]
	if u.old == nil {
		what, event = fmt.Sprintf("%q", u.to), k.byName[u.to]
	}
	if event != nil {
		return event, nil, nil
	}
	var next *Upcaster
	for _, other := range all {
		if u.old != nil && other.old == u.new || u.old == nil && other.name == u.to {
			if next != nil {
				return nil, nil, fmt.Errorf("%s is taken by more than one upcaster, %q and %q", what, next.name, other.name)
			}
			next = other
		}
	}
	if next == nil {
		return nil, nil, fmt.Errorf("neither an event nor an upcaster takes %s", what)
	}
	return nil, next, nil
}

// find returns the source of a stored event.
func (k *kind[S]) find(name, typeURL string) (*source[S], bool) {
	named := k.stored[name]
	if len(named) == 0 {
		// The name may be missing, or be one that another SDK's journal took from the type.
		s, ok := k.byURL[typeURL]
		return s, ok
	}
	for _, s := range named[1:] {
		if s.typeURL == typeURL {
			return s, true
		}
	}
	return named[0], true
}
