package userfunction

import (
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// read takes one message of the user function apart, and tells to which method it belongs. With an error the answer has
// only its number.
func (s *shared) read(out *protocol.CrdtStreamOut) (a replica.Answer, method string, wrong *actors.Error) {
	var err error
	switch m := out.GetMessage().(type) {
	case *protocol.CrdtStreamOut_Reply:
		a = replica.Answer{Kind: replica.Replied, Number: m.Reply.GetCommandId(), Streamed: m.Reply.GetStreamed()}
		method = s.method(a.Number, !a.Streamed)
		if a.Outcome, err = s.function.outcome(m.Reply.GetClientAction(), m.Reply.GetSideEffects(), method); err == nil {
			a.Write, err = write(m.Reply.GetStateAction())
		}
	case *protocol.CrdtStreamOut_StreamedMessage:
		a = replica.Answer{Kind: replica.Message, Number: m.StreamedMessage.GetCommandId(), End: m.StreamedMessage.GetEndStream()}
		method = s.method(a.Number, a.End)
		a.Outcome, err = s.function.outcome(m.StreamedMessage.GetClientAction(), m.StreamedMessage.GetSideEffects(), method)
	case *protocol.CrdtStreamOut_StreamCancelledResponse:
		a = replica.Answer{Kind: replica.CancelledToo, Number: m.StreamCancelledResponse.GetCommandId()}
		method = s.method(a.Number, true)
		if a.Outcome, err = s.function.outcome(nil, m.StreamCancelledResponse.GetSideEffects(), method); err == nil {
			a.Write, err = write(m.StreamCancelledResponse.GetStateAction())
		}
	case *protocol.CrdtStreamOut_Failure:
		a = replica.Answer{Kind: replica.Failed, Number: m.Failure.GetCommandId()}
		method = s.method(a.Number, true)
		a.Outcome.Failure = s.function.failure(m.Failure)
	default:
		return a, "", &actors.Error{Code: actors.Unknown, Message: replicatedTexts.message + ": none of the messages that there are"}
	}
	if err == nil {
		return a, method, nil
	}
	if known, ok := errors.AsType[*actors.Error](err); ok && !errors.Is(err, errBroken) {
		return replica.Answer{Number: a.Number}, method, known
	}
	return replica.Answer{Number: a.Number}, method, &actors.Error{Code: actors.Unknown, Message: fmt.Sprintf("%s: %v", replicatedTexts.reply, err)}
}

// method of a command, which is forgotten if this is the last that is heard of it.
func (s *shared) method(number int64, last bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.methods[number]
	if last {
		delete(s.methods, number)
	}
	return m
}

// outcome of a command. Errors match errBroken or are *actors.Error, which the user function has been told of.
func (r *replicated) outcome(action *cloudstate.ClientAction, effects []*cloudstate.SideEffect, method string) (o actors.Outcome, err error) {
	switch action := action.GetAction().(type) {
	case *cloudstate.ClientAction_Reply:
		r.reply(action.Reply, method, &o)
	case *cloudstate.ClientAction_Failure:
		o.Failure = r.failure(action.Failure)
	case *cloudstate.ClientAction_Forward:
		o.Forward, err = r.forward(action.Forward, method)
	}
	if err == nil {
		o.Effects, err = r.effects(effects, method)
	}
	if err != nil {
		return actors.Outcome{}, err
	}
	r.publish(&o, method)
	return o, nil
}

// write reads a state action. Errors match errBroken.
func write(in *protocol.CrdtStateAction) (*replica.Write, error) {
	if in == nil {
		return nil, nil
	}
	w := &replica.Write{Level: replica.Local}
	switch in.GetWriteConsistency() {
	case protocol.CrdtWriteConsistency_MAJORITY:
		w.Level = replica.Majority
	case protocol.CrdtWriteConsistency_ALL:
		w.Level = replica.All
	}
	switch action := in.GetAction().(type) {
	case *protocol.CrdtStateAction_Update:
		var err error
		if w.Update, err = fromDelta(action.Update); err != nil {
			return nil, err
		}
	case *protocol.CrdtStateAction_Delete:
		w.Delete = true
	default:
		return nil, fmt.Errorf("%w: a state action that is neither update nor delete", errBroken)
	}
	return w, nil
}
