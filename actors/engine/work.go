package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// stage of a work.
type stage uint8

const (
	queued stage = iota
	handling
	pending
	finished
)

// work is one command on its way through the engine. Everything is guarded by the engine's mutex, except that the
// worker writes the turn's part while the work is in the stage handling, the committer reads append while it is on its
// way, and everybody may read the result once done is closed.
type work struct {
	next     *work
	instance *instance
	service  *service

	command  actors.Command
	hash     [16]byte
	deadline time.Time
	size     int
	// arrived is the engine's tick when the command came in.
	arrived uint64
	stage   stage

	// The result.
	done    chan struct{}
	outcome actors.Outcome
	err     error
	// dropped says that the command was given up before it was handled.
	dropped bool

	turn

	// How often it was handled again: for the fault of its own append or of the instance's stale state, for a
	// lost connection, and altogether.
	conflicts, losses, tries uint8
}

// turn is what came of handling a command once.
type turn struct {
	// failure is the session's error, which is the answer unless an earlier append fails.
	failure *actors.Error
	// base is the sequence before the turn, end the one after it.
	base, end int64
	// append is only for turns that wrote: events, effects, or both. One without events leaves the head where it is, but
	// compares it all the same.
	wrote  bool
	append journal.Append
	// launched is the tick at which the append was sent to the journal, 0 before.
	launched uint64
	// result is the journal's answer, once it is there.
	result journal.Result
	// A turn that wrote nothing answers when both are true.
	headKnown, keyKnown bool
	// asked says that a question covers it.
	asked bool
}

// How often a command is handled again.
const (
	maxConflicts = 1
	maxLosses    = 1
	maxTries     = 16
)

func (w *work) landed() bool { return w.result.Status == journal.Committed }

// works is a list of them. A work is in one list at a time.
type works struct {
	first, last *work
	n           int
}

func (l *works) push(w *work) {
	w.next = nil
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.n++
}

func (l *works) pushFront(w *work) {
	w.next = l.first
	l.first = w
	if l.last == nil {
		l.last = w
	}
	l.n++
}

func (l *works) pop() *work {
	w := l.first
	l.first = w.next
	if l.first == nil {
		l.last = nil
	}
	w.next = nil
	l.n--
	return w
}

// remove takes out those that match, in order.
func (l *works) remove(match func(*work) bool) {
	old := *l
	*l = works{}
	for old.n > 0 {
		if w := old.pop(); !match(w) {
			l.push(w)
		}
	}
}

func (l *works) find(key string) *work {
	for w := l.first; w != nil; w = w.next {
		if w.command.Key == key {
			return w
		}
	}
	return nil
}

// The sorts of command ids: those of keys, which the caller may ask for, and those that the engine draws.
const (
	keyPrefix   = "k:"
	drawnPrefix = "g:"
	maxKeyBytes = journal.MaxCommandBytes - len(keyPrefix)
)

// commandID of a command with that key. One is drawn for a command without: it has to be unique, not secret.
func commandID(key string) string {
	if key != "" {
		return keyPrefix + key
	}
	id := append(make([]byte, 0, 32), drawnPrefix...)
	id = strconv.AppendUint(id, rand.Uint64(), 36)
	id = append(id, '-')
	return string(strconv.AppendUint(id, rand.Uint64(), 36))
}

// hashOf a request: what a second command with the same key must have in common with the first.
func hashOf(c *actors.Command) (hash [16]byte) {
	b := make([]byte, 0, 32+len(c.Method)+len(c.Payload.TypeURL)+len(c.Payload.Data))
	for _, s := range []string{c.Method, c.Payload.TypeURL} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(append(b, c.Payload.Data...))
	copy(hash[:], sum[:])
	return hash
}

func metadataSize(m actors.Metadata) int {
	n := 0
	for _, e := range m {
		n += len(e.Key) + len(e.Text) + len(e.Bytes)
	}
	return n
}

func payloadSize(p *actors.Payload) int {
	if p == nil {
		return 0
	}
	return len(p.TypeURL) + len(p.Data)
}

// workBytes is about what a work takes beside its payloads.
const workBytes = 768

func commandSize(c *actors.Command) int {
	return workBytes + len(c.Method) + len(c.Key) + payloadSize(&c.Payload) + metadataSize(c.Metadata)
}

// appendSize is what counts towards the size of a batch.
func appendSize(a *journal.Append) int {
	n := payloadSize(a.Snapshot)
	for k := range a.Events {
		n += payloadSize(&a.Events[k].Payload)
	}
	if a.Record != nil {
		n += len(a.Record.Outcome)
	}
	return n + effectsSize(a.Effects)
}

// outcomeSize is what is kept until the outcome may leave.
func outcomeSize(o *actors.Outcome) int {
	n := payloadSize(o.Reply) + metadataSize(o.Metadata)
	if o.Failure != nil {
		n += len(o.Failure.Message)
	}
	if o.Forward != nil {
		n += payloadSize(&o.Forward.Payload) + metadataSize(o.Forward.Metadata)
	}
	return n + effectsSize(o.Effects)
}

// The metadata of a command from which the context of its events is taken.
const (
	keyTraceparent = "traceparent"
	keyCaller      = "dapr-caller-app-id"
	keyCorrelation = "correlation-id"
	keyCausation   = "causation-id"
)

func contextOf(m actors.Metadata) journal.Context {
	if len(m) == 0 {
		return journal.Context{}
	}
	return journal.Context{
		Traceparent: textOf(m, keyTraceparent),
		Caller:      textOf(m, keyCaller),
		Correlation: textOf(m, keyCorrelation),
		Causation:   textOf(m, keyCausation),
	}
}

// textOf an entry, as far as a journal can store it.
func textOf(m actors.Metadata, key string) string {
	s := m.Get(key)
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}

// eventName is the name of an event that the user function gave none: what follows the last slash of its type URL. For
// protobuf that is the whole name of the message, with its package, which is as stable as the type itself; for
// json.cloudstate.io/<name> it is the name.
func eventName(e *Event) string {
	if e.Name != "" {
		return e.Name
	}
	return e.Payload.TypeURL[strings.LastIndexByte(e.Payload.TypeURL, '/')+1:]
}
