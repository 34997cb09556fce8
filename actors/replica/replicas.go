package replica

import (
	"context"
	"errors"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/crdt"
)

// Replicas are this node's copies of replicated entities.
type Replicas interface {
	// Open makes the entity's copy live, from the journal and the other members, and holds it in memory until Close. changed
	// is called, without waiting and possibly often, when Flush may have something to tell; if it is nil, Begin and Flush
	// are not called either. One Replica of an entity is open at a time. ctx bounds the opening.
	Open(ctx context.Context, ref actors.Ref, changed func()) (Replica, error)
}

// Replica is the copy of one entity on this node, with what its user function has been told. Its methods may be called from
// any goroutine; they do not block on others.
type Replica interface {
	// Begin returns the whole value, or nil if there is none yet, and takes it as told. deleted says that the entity is
	// deleted and cannot be written.
	Begin() (value *crdt.Update, deleted bool)
	// Flush returns what the user function has not been told, or nil if nothing, and takes it as told. If it does not fit
	// into one update, changed is called again.
	Flush() (u *crdt.Update, deleted bool)
	// Update applies what the user function said, as of what it had been told, to which it adds it. An error means that
	// nothing was applied. Otherwise done is called once, from any goroutine and possibly before Update returns: with nil
	// when the write is as safe as level says, or with an error that matches ErrUnconfirmed, after which it may still
	// become so.
	Update(u *crdt.Update, level Level, done func(error)) error
	// Apply applies u as of all that this node knows. It is for writers without a user function; otherwise it is like
	// Update, but for an error that matches crdt.ErrKindMismatch where u puts a value under a key of a map that shows one of
	// another kind.
	Apply(u *crdt.Update, level Level, done func(error)) error
	// Kind is the kind of the value, 0 if there is none.
	Kind() (k crdt.Kind, deleted bool)
	// Delete deletes the entity; done as for Update.
	Delete(level Level, done func(error)) error
	// Value returns the whole value without taking it as told; nil if there is none or it is deleted.
	Value() *crdt.Update
	// Close lets go of the copy: it may leave memory once the journal has what it knows. Calls of done that are owed come
	// all the same.
	Close()
}

var (
	// ErrUnconfirmed says that a write was applied here but is not yet known to be as safe as was asked for.
	ErrUnconfirmed = errors.New("the write is applied on this node but not confirmed")
	// ErrReadOnly says that this node has no slot at present, so it cannot write.
	ErrReadOnly = errors.New("this node is not a member at present and cannot write")
	// ErrDeleted says that the entity is deleted.
	ErrDeleted = errors.New("the entity is deleted")
)
