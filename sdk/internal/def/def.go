// Package def holds the erased form of what a user defines. The packages of the entity kinds wrap the user's typed
// functions into it at once; sessions, discovery and the test kit see nothing else.
package def

import (
	"context"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// The types of services, as discovery names them.
const (
	EventSourced = "cloudstate.eventsourced.EventSourced"
	ValueEntity  = "cloudstate.valueentity.ValueEntity"
)

// Entity is one service's definition. It is immutable and shared by all its instances.
type Entity struct {
	// Type is the full name of the protocol's service that runs it.
	Type          string
	Service       string
	PersistenceID string
	// Idle is 0 if the user chose none.
	Idle time.Duration
	// SnapshotEvery is 0 for never.
	SnapshotEvery int64
	Methods       []Method
	// Messages are the protobuf types of its events and state.
	Messages []protoreflect.MessageDescriptor
	// New makes the event-sourced entity with that id, as it is before its first event. Nil for other types.
	New func(id string) Instance
	// Act carries out one call of an action. Nil for other types.
	Act func(context.Context, Invocation) *Response
	// Value is nil for other types.
	Value Value
	// Replicate makes the replicated entity with that id, without data. Nil for other types. It does not panic.
	Replicate func(id string) (Replica, error)
}

// Method is one command for discovery. Input and Output are protobuf message names, or names of JSON types; then In or
// Out is nil.
type Method struct {
	Name          string
	Input, Output string
	In, Out       protoreflect.MessageDescriptor
	// EventNamed says that Input is the name of an event.
	EventNamed bool
	// StreamedIn and StreamedOut: any number of inputs, or of replies. Entities have no streamed inputs, and only
	// replicated ones streamed replies.
	StreamedIn, StreamedOut bool
	// Eventing is what the Go options say; nil for nothing.
	Eventing *cloudstate.Eventing
}

// Instance is one live event-sourced entity. One goroutine uses it at a time. No method panics.
type Instance interface {
	// State points to the live state.
	State() any
	// Encode encodes an event of the user's as Turn.Emit would.
	Encode(event any) (Event, error)
	// Restore replaces the state by a snapshot's.
	Restore(snapshot *anypb.Any) error
	// Snapshot encodes the state.
	Snapshot() (*anypb.Any, error)
	// Apply replays one stored event. Its Name may be empty.
	Apply(e Event) error
	// Handle runs one command. The events in its result have been applied.
	Handle(ctx context.Context, c Command) Result
}

// Value is a kind of value entities. It keeps nothing of a single entity: whoever runs one keeps its value, and a turn
// that fails has changed nothing. Many goroutines use it. No method panics.
//
// A value is nil if the entity has none.
type Value interface {
	// Decode returns a value of the user's type.
	Decode(value *anypb.Any) (any, error)
	// Encode is its inverse.
	Encode(value any) (*anypb.Any, error)
	// Handle runs one command of the entity with that id and value.
	Handle(ctx context.Context, id string, value *anypb.Any, c Command) Result
}

// Event in encoded form.
type Event struct {
	Name    string
	Payload *anypb.Any
}

// Command in encoded form.
type Command struct {
	Name     string
	Payload  *anypb.Any
	Metadata *cloudstate.Metadata
	Key      string
	// Sequence of the entity before the command.
	Sequence int64
	// Streamed says that the caller takes any number of replies. Replicated entities only.
	Streamed bool
}

// Result is what a command came to: Reply, Forward or Failure.
type Result struct {
	Reply *anypb.Any
	// Metadata of the reply; may be nil.
	Metadata *cloudstate.Metadata
	Forward  *Call
	Failure  *Failure
	Events   []Event
	// Change is nil if the turn left the value of a value entity alone.
	Change *Change
	// Write is nil if the turn left a replicated entity alone.
	Write *Write
	// Watcher of a streamed command that goes on. Its first Reply may be nil.
	Watcher Watcher
	// Ended says that a streamed command is over.
	Ended bool
	// Effects in the order in which they were asked for. An entity that fails has none.
	Effects []Effect
}

// Change of a value: to another one, or to none.
type Change struct {
	Value *anypb.Any
}

// Failure is a "no" for the caller.
type Failure struct {
	// Code is a gRPC status code; 0 if the handler gave none.
	Code int32
	// Text is for the caller.
	Text string
	// Exception says that no handler decided this: it panicked, or there is none.
	Exception bool
	// Spoilt says that the state may no longer be the fold of the events.
	Spoilt bool
	// Cause is for the log only. May be nil.
	Cause error
}

// Fault is a contained panic.
type Fault struct {
	Value any
	Stack []byte
}
