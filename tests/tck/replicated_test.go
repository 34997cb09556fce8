package tck

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

const (
	modelC          = "cloudstate.tck.model.crdt."
	replicatedFirst = modelC + "CrdtTckModel"
	replicatedTwo   = modelC + "CrdtTwo"
	replicatedConf  = modelC + "CrdtConfigured"
	replicatedType  = "cloudstate.crdt.Crdt"
)

// replicatedAnswer is what a command of a replicated entity is answered with.
type replicatedAnswer struct {
	// The answer: the state, a forward, a failure, or nothing at all.
	state         *crdt.CrdtDelta
	forward, fail string
	empty         bool
	effects       []step // effect id, sync id
	// The state action: a change, the end, or nothing.
	update      *crdt.CrdtDelta
	delete      bool
	consistency crdt.CrdtWriteConsistency
	streamed    bool
}

// freshKind is an id that nobody has used, of an entity of a kind.
func freshKind(kind string) string { return kind + strings.TrimPrefix(fresh(), "entity") }

// replicatedStream is one replicated entity.
type replicatedStream struct {
	*service
	*bidi[crdt.CrdtStreamIn, crdt.CrdtStreamOut]
	id string
	n  int64
}

// replicated begins a stream. The state may be nil: there is none.
func (s *service) replicated(t *testing.T, id string, state *crdt.CrdtDelta) *replicatedStream {
	t.Helper()
	e := &replicatedStream{s, open(t, crdt.NewCrdtClient(s.conn).Handle), id, 0}
	e.send(t, replicatedInit(replicatedFirst, id, state))
	return e
}

func replicatedInit(service, id string, state *crdt.CrdtDelta) *crdt.CrdtStreamIn {
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Init{Init: &crdt.CrdtInit{ServiceName: service, EntityId: id, Delta: state}}}
}

func replicatedCommand(c *cloudstate.Command) *crdt.CrdtStreamIn {
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Command{Command: c}}
}

// again begins anew, after passivation.
func (e *replicatedStream) again(t *testing.T, state *crdt.CrdtDelta) *replicatedStream {
	t.Helper()
	e.passivate(t)
	return e.replicated(t, e.id, state)
}

// told sends a change that others have made.
func (e *replicatedStream) told(t *testing.T, delta *crdt.CrdtDelta) {
	t.Helper()
	e.send(t, &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Delta{Delta: delta}})
}

// do sends the next command, and holds if it is answered with the state and the change, which may be none.
func (e *replicatedStream) do(t *testing.T, state, update *crdt.CrdtDelta, steps ...step) {
	t.Helper()
	e.answers(t, replicatedAnswer{state: state, update: update}, steps...)
}

// answers is do, for other answers.
func (e *replicatedStream) answers(t *testing.T, want replicatedAnswer, steps ...step) {
	t.Helper()
	e.n++
	e.send(t, replicatedCommand(e.processCommand(t, e.id, e.n, steps...)))
	e.replies(t, e.n, want)
}

// listen sends the next command, a streamed one: more in the JSON form of a StreamedRequest, without the id.
func (e *replicatedStream) listen(t *testing.T, want replicatedAnswer, more string) {
	t.Helper()
	e.n++
	e.send(t, replicatedCommand(e.streamedCommand(t, e.id, e.n, more)))
	want.streamed = true
	e.replies(t, e.n, want)
}

func (e *replicatedStream) replies(t *testing.T, n int64, want replicatedAnswer) {
	t.Helper()
	equalSets(t, fmt.Sprintf("the answer to command %d", n), e.replicatedReply(t, n, want), e.receive(t))
}

// hears holds if the caller of a streamed command is told.
func (e *replicatedStream) hears(t *testing.T, n int64, state *crdt.CrdtDelta, end bool, effects ...step) {
	t.Helper()
	equalSets(t, fmt.Sprintf("what the caller of command %d is told", n), e.streamedMessage(t, n, state, end, effects...), e.receive(t))
}

// hangsUp says that the caller of a streamed command has gone. It holds if that changes the value so, or not at all.
func (e *replicatedStream) hangsUp(t *testing.T, n int64, update *crdt.CrdtDelta) {
	t.Helper()
	e.send(t, replicatedCancel(e.id, n))
	equalSets(t, fmt.Sprintf("the answer to the cancellation of command %d", n), cancelResponse(n, update), e.receive(t))
}

func replicatedCancel(id string, n int64) *crdt.CrdtStreamIn {
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_StreamCancelled{StreamCancelled: &cloudstate.StreamCancelled{EntityId: id, Id: n}}}
}

func cancelResponse(n int64, update *crdt.CrdtDelta) *crdt.CrdtStreamOut {
	r := &crdt.CrdtStreamCancelledResponse{CommandId: n, StateAction: replicatedAnswer{update: update}.stateAction()}
	return &crdt.CrdtStreamOut{Message: &crdt.CrdtStreamOut_StreamCancelledResponse{StreamCancelledResponse: r}}
}

func (s *service) processCommand(t *testing.T, id string, n int64, steps ...step) *cloudstate.Command {
	t.Helper()
	return &cloudstate.Command{EntityId: id, Id: n, Name: "Process", Payload: s.replicatedRequest(t, id, steps...)}
}

func (s *service) streamedCommand(t *testing.T, id string, n int64, more string) *cloudstate.Command {
	t.Helper()
	return &cloudstate.Command{EntityId: id, Id: n, Name: "ProcessStreamed", Streamed: true, Payload: s.streamedRequest(t, id, more)}
}

func (s *service) streamedRequest(t testing.TB, id, more string) *anypb.Any {
	t.Helper()
	if more != "" {
		more = "," + more
	}
	return s.any(t, modelC+"StreamedRequest", fmt.Sprintf(`{"id":%q%s}`, id, more))
}

func (s *service) replicatedReply(t *testing.T, n int64, want replicatedAnswer) *crdt.CrdtStreamOut {
	t.Helper()
	r := &crdt.CrdtReply{
		CommandId: n, SideEffects: s.sideEffects(t, modelC, replicatedTwo, want.effects), StateAction: want.stateAction(), Streamed: want.streamed,
	}
	switch {
	case want.empty:
	case want.fail != "" || want.forward != "":
		r.ClientAction = s.clientAction(t, modelC, replicatedTwo, n, answer{fail: want.fail, forward: want.forward})
	default:
		r.ClientAction = s.replyState(t, want.state)
	}
	return &crdt.CrdtStreamOut{Message: &crdt.CrdtStreamOut_Reply{Reply: r}}
}

func (s *service) streamedMessage(t *testing.T, n int64, state *crdt.CrdtDelta, end bool, effects ...step) *crdt.CrdtStreamOut {
	t.Helper()
	return &crdt.CrdtStreamOut{Message: &crdt.CrdtStreamOut_StreamedMessage{StreamedMessage: &crdt.CrdtStreamedMessage{
		CommandId: n, ClientAction: s.replyState(t, state), SideEffects: s.sideEffects(t, modelC, replicatedTwo, effects), EndStream: end,
	}}}
}

func (s *service) replyState(t *testing.T, state *crdt.CrdtDelta) *cloudstate.ClientAction {
	t.Helper()
	return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{Payload: s.replicatedResponse(t, state)}}}
}

// stateAction is unset if nothing happens to the state.
func (a replicatedAnswer) stateAction() *crdt.CrdtStateAction {
	switch {
	case a.delete:
		return &crdt.CrdtStateAction{Action: &crdt.CrdtStateAction_Delete{Delete: &crdt.CrdtDelete{}}, WriteConsistency: a.consistency}
	case a.update != nil:
		return &crdt.CrdtStateAction{Action: &crdt.CrdtStateAction_Update{Update: a.update}, WriteConsistency: a.consistency}
	default:
		return nil
	}
}

// equalSets is equal but for the order within sets and maps, which have none.
func equalSets(t *testing.T, what string, want, got proto.Message) {
	t.Helper()
	key := func(a *anypb.Any) string { return a.GetTypeUrl() + " " + string(a.GetValue()) }
	if diff := cmp.Diff(want, got, protocmp.Transform(),
		protocmp.SortRepeated(func(a, b *anypb.Any) bool { return key(a) < key(b) }),
		protocmp.SortRepeated(func(a, b *crdt.ORMapEntryDelta) bool { return key(a.GetKey()) < key(b.GetKey()) }),
	); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}
