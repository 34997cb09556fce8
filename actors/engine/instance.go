package engine

import (
	"reflect"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/dapr-entities/entities/actors"
)

// service that is served, and its idle instances, the one that is idle for longest first.
type service struct {
	Service
	inflight int
	idle     *simplelru.LRU[*instance, struct{}]
}

// same reports whether a session of s is as good as one of o.
func (s *service) same(o *Service) bool {
	a, b := reflect.ValueOf(s.Function), reflect.ValueOf(o.Function)
	return s.Persistence == o.Persistence && s.Whole == o.Whole && a.Comparable() && b.Comparable() && a.Equal(b)
}

// instance of a resident entity. It is guarded by the engine's mutex; session and sequence are also read by the worker,
// and changed by nobody else while one is running.
type instance struct {
	id      string
	service *service
	session Session
	// sequence of the session's state.
	sequence int64
	// epoch under which the session was opened.
	epoch int64
	// durable is the sequence up to which the journal is known to hold the session's events.
	durable int64
	// The newest proof that the head was at proofAt: it was sent to the journal at proofTick.
	proofAt   int64
	proofTick uint64

	// queue of commands to be handled, current the one that is being handled, pending those that were.
	queue   works
	current *work
	pending works
	// ahead are the turns that the worker gives to the session next.
	ahead []Turn
	// writing counts pending appends that have not landed, launched those that are on their way.
	writing, launched int

	idleSince time.Time
	// generation counts recoveries, so that answers to older questions are not taken for newer ones.
	generation uint32

	// running says that there is a worker.
	running bool
	// resting says that it is in its service's idle list.
	resting bool
	// broken by a failed append, or because its state is stale.
	broken, stale bool
	// reopen asks for a session though no command waits.
	reopen bool
	// asking says that a question about the head is queued.
	asking bool
	// gone says that it was passivated: another instance may have its place.
	gone bool
	// leave says that it is to be passivated once it has nothing to do.
	leave bool
}

func (i *instance) ref() actors.Ref { return actors.Ref{Service: i.service.Name, ID: i.id} }

// stream is the entity's name in the journal.
func (i *instance) stream() actors.Ref { return actors.Ref{Service: i.service.Persistence, ID: i.id} }

// load is the number of unanswered commands.
func (i *instance) load() int {
	n := i.queue.n + i.pending.n
	if i.current != nil {
		n++
	}
	return n
}

// find the unanswered command with a key.
func (i *instance) find(key string) *work {
	if w := i.pending.find(key); w != nil {
		return w
	}
	if i.current != nil && i.current.command.Key == key {
		return i.current
	}
	return i.queue.find(key)
}

// wants reports whether a worker would have something to do.
func (i *instance) wants() bool {
	switch {
	case i.broken:
		return i.launched == 0
	case i.queue.n == 0 && !i.reopen:
		return false
	default:
		// A new session is opened only when every turn of the old one is answered: the journal must have its events,
		// and a proof about the old one's state must not be taken for one about the new one's.
		return i.session != nil || i.pending.n == 0
	}
}
