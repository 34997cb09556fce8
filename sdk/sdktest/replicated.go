package sdktest

import (
	"context"
	"errors"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/sdk/replicated"
)

// node is a subject of the replicated kind: the entity on one node, with its replica as the component would have it.
type node struct {
	harness *Harness
	cluster *Nodes
	side    int // of the partition

	entity  *crdt.Entity
	view    crdt.View
	writer  crdt.Writer
	members *crdt.Members

	live    *session.Replicated
	streams map[int64]func(*pb.CrdtStreamedMessage) // by their commands; nil tells the end of the entity
}

func (n *node) open() {
	n.harness.t.Helper()
	for _, command := range slices.Sorted(maps.Keys(n.streams)) {
		n.streams[command](nil)
	}
	n.streams = make(map[int64]func(*pb.CrdtStreamedMessage))
	n.view = crdt.View{}
	n.live = n.load(n.view.Begin(n.entity, n.members))
}

// load makes a session with that value.
func (n *node) load(value *crdt.Update) *session.Replicated {
	h := n.harness
	h.t.Helper()
	live := session.NewReplicated(h.services(), session.PeerOf(session.Extensions()), h.logger())
	start := &pb.CrdtInit{ServiceName: h.entity.Service, EntityId: h.id}
	if value != nil {
		start.Delta = toDelta(value)
	}
	n.step(live, &pb.CrdtStreamIn{Message: &pb.CrdtStreamIn_Init{Init: start}})
	return live
}

// step gives the session a message, and takes what it says to be more than messages of streams.
func (n *node) step(live *session.Replicated, in *pb.CrdtStreamIn) (answer *pb.CrdtStreamOut) {
	h := n.harness
	h.t.Helper()
	sent := new(pb.CrdtStreamIn)
	h.wire(in, sent)
	var later []*pb.CrdtStreamedMessage
	_, err := live.Step(context.WithoutCancel(h.t.Context()), sent, func(out *pb.CrdtStreamOut) error {
		h.ended(out.GetFailure())
		got := new(pb.CrdtStreamOut)
		h.wire(out, got)
		if m := got.GetStreamedMessage(); m != nil {
			later = append(later, m)
		} else {
			answer = got
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range later {
		if take := n.streams[m.GetCommandId()]; take != nil {
			take(m)
		}
	}
	return answer
}

func (n *node) handle(c *cloudstate.Command) answer {
	n.harness.t.Helper()
	n.revive()
	reply := n.step(n.live, &pb.CrdtStreamIn{Message: &pb.CrdtStreamIn_Command{Command: c}}).GetReply()
	a := answer{
		command: reply.GetCommandId(),
		action:  reply.GetClientAction(),
		effects: reply.GetSideEffects(),
		level:   replicated.Level(reply.GetStateAction().GetWriteConsistency()),
		events:  n.write(reply.GetStateAction()),
	}
	if !n.cluster.reached(n, a.level) {
		a.action = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{Failure: &cloudstate.Failure{
			CommandId:   a.command,
			Code:        int32(codes.DeadlineExceeded),
			Description: "the change was applied on this node, and too few others could be reached",
		}}}
	}
	if reply.GetStreamed() && a.action.GetFailure() == nil {
		a.events = append(a.events, streamed)
	}
	return a
}

// revive begins a deleted entity anew.
func (n *node) revive() {
	if n.entity.Deleted() {
		n.entity = crdt.New(n.entity.Generation() + 1)
		n.open()
	}
}

// streamed is what handle adds to the events of a command whose stream goes on.
const streamed = "streamed"

// write carries out what a turn does to the entity.
func (n *node) write(w *pb.CrdtStateAction) (events []string) {
	h := n.harness
	h.t.Helper()
	if w == nil {
		return nil
	}
	n.cluster.now++
	switch action := w.GetAction().(type) {
	case *pb.CrdtStateAction_Update:
		u := toUpdate(action.Update)
		d, _, err := n.entity.Apply(&n.writer, u, n.view.Seen(), nil)
		if err != nil {
			h.t.Fatalf("%s: %v", h.entity.Service, err)
		}
		n.view.Own(n.entity, u, d)
		events = []string{updated}
	case *pb.CrdtStateAction_Delete:
		n.entity.Delete(&n.writer, nil)
		n.open()
		events = []string{deleted}
	}
	n.cluster.exchange()
	return events
}

// join takes what another node knows.
func (n *node) join(other *crdt.Entity) {
	h := n.harness
	h.t.Helper()
	switch {
	case other.Kind() == 0 && !other.Deleted(), other.Generation() < n.entity.Generation():
		return
	case other.Generation() > n.entity.Generation():
		n.entity = crdt.New(other.Generation())
		n.join(other)
		n.open()
		return
	}
	var ch crdt.Changes
	was := n.entity.Deleted()
	if _, err := n.entity.Join(other.Full(), &ch); err != nil {
		h.t.Fatalf("%s: %v", h.entity.Service, err)
	}
	if n.entity.Deleted() {
		if !was {
			n.step(n.live, &pb.CrdtStreamIn{Message: &pb.CrdtStreamIn_Delete{Delete: new(pb.CrdtDelete)}})
			n.open()
		}
		return
	}
	n.view.Note(&ch)
}

// tell tells the entity what it has not been told.
func (n *node) tell() {
	n.harness.t.Helper()
	if n.entity.Deleted() {
		return
	}
	for u := n.view.Flush(n.entity, n.members); u != nil; u = n.view.Flush(n.entity, n.members) {
		n.step(n.live, &pb.CrdtStreamIn{Message: &pb.CrdtStreamIn_Delta{Delta: toDelta(u)}})
	}
}

// cancel says that the caller of a streamed command has gone.
func (n *node) cancel(command int64) []*cloudstate.SideEffect {
	h := n.harness
	h.t.Helper()
	delete(n.streams, command)
	answer := n.step(n.live, &pb.CrdtStreamIn{Message: &pb.CrdtStreamIn_StreamCancelled{
		StreamCancelled: &cloudstate.StreamCancelled{EntityId: h.id, Id: command},
	}}).GetStreamCancelledResponse()
	if answer.GetCommandId() != command {
		h.t.Fatalf("the end of the stream %d was answered with %v", command, answer)
	}
	n.write(answer.GetStateAction())
	n.check("the end of a stream")
	return answer.GetSideEffects()
}

// check loads the entity anew. That must not change it.
func (n *node) check(after string) {
	h := n.harness
	h.t.Helper()
	if n.entity.Deleted() {
		return
	}
	live, stored := n.live.Value(), n.load(n.entity.Value(n.members)).Value()
	if n.entity.Kind() != 0 && !proto.Equal(live, stored) {
		h.t.Errorf("after %s the live data differs from what is stored: %v, stored %v", after, live, stored)
	}
}

func (n *node) encode(any) (def.Event, error) {
	return def.Event{}, errors.New("a replicated entity has no past but by its commands")
}

func (n *node) snapshot() error { return errors.New("a replicated entity has no snapshots") }

func (n *node) state() any { return n.live.Data() }
