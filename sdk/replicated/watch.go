package replicated

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Watch is how a streamed command is handled: a caller is told about the data now and after every change, whoever makes
// it and on whatever node, until either side ends it. Several changes at once may be told as one.
type Watch[D Data, In, Out any] struct {
	// Open begins, and may change the data. Its error refuses the command. Defaults to nothing.
	Open func(ctx context.Context, t *Turn[D], in In) error
	// Next is what the caller is told: when the stream begins, with what Open did, and after every change. send says
	// whether it is told anything, and more whether the stream goes on. To change the data panics. A panic ends the
	// stream: the caller gets Internal.
	Next func(data D, in In) (out Out, send, more bool)
	// Effects asks for effects along with what Next sends, but for the first time. Seldom needed. Defaults to nothing.
	Effects func(e *Effects, data D, in In)
	// Done runs when the caller has gone, and may change the data. It does not run when Next ended the stream, nor if
	// this program or its node crashes meanwhile. A panic is logged, and has changed nothing. Defaults to nothing.
	Done func(ctx context.Context, t *Turn[D], in In)
}

// Stream binds a method with streamed replies.
func Stream[D Data, In, Out any](method sdk.StreamOut[In, Out], watch Watch[D, In, Out]) Command[D] {
	b := turn.Bind(sdk.Method[In, Out](method), false, nil)
	if watch.Next == nil {
		b.Err = errors.Join(b.Err, errors.New("its Watch has no Next"))
	}
	return Command[D]{
		service:  b.Service,
		name:     b.Name,
		streamed: true,
		method:   b.Method,
		err:      b.Err,
		run: func(ctx context.Context, t *Turn[D], payload *anypb.Any) (outcome, error) {
			in, err := b.Decode(payload)
			if err != nil {
				return outcome{}, err
			}
			if watch.Open != nil {
				if err := watch.Open(ctx, t, in); err != nil {
					return outcome{}, err
				}
			}
			w := &watcher[D, In, Out]{replica: t.replica, command: t.command, binding: b, watch: watch, in: in}
			w.replica.guard.open = false
			reply, more, err := w.next(nil)
			if !more || t.deleted {
				return outcome{reply: reply, ended: true}, err
			}
			return outcome{reply: reply, watcher: w}, err
		},
	}
}

// watcher is a streamed command whose caller waits for more. It is its def.Watcher.
type watcher[D Data, In, Out any] struct {
	replica *replica[D]
	command def.Command
	binding turn.Binding[In, Out]
	watch   Watch[D, In, Out]
	in      In
}

// next asks for effects unless e is nil.
func (w *watcher[D, In, Out]) next(e *Effects) (reply *anypb.Any, more bool, err error) {
	out, send, more := w.watch.Next(w.replica.data, w.in)
	if !send {
		return nil, more, nil
	}
	if reply, err = w.binding.Encode(nil, out, nil); err == nil && e != nil && w.watch.Effects != nil {
		w.watch.Effects(e, w.replica.data, w.in)
	}
	return reply, more, err
}

func (w *watcher[D, In, Out]) Next() def.Result {
	var (
		e     = new(Effects)
		g     = &w.replica.guard
		reply *anypb.Any
		more  bool
		err   error
	)
	g.refused = nil
	fault := def.Contain(func() { reply, more, err = w.next(e) })
	e.over = true
	var cause error
	switch {
	case e.refused != nil:
		cause = e.refused
	case g.refused != nil:
		cause = g.refused
	case fault != nil:
		cause = fault
	case err != nil:
		return def.Result{Failure: turn.Refused(err), Ended: true}
	default:
		return def.Result{Reply: reply, Effects: e.sent.Effects, Ended: !more}
	}
	return def.Result{Failure: turn.Broken(w.replica.kind.entity.Service, w.command.Name, cause), Ended: true}
}

func (w *watcher[D, In, Out]) Done(ctx context.Context) def.Result {
	if w.watch.Done == nil {
		return def.Result{}
	}
	return w.replica.turn(w.command, true, true, func(t *Turn[D]) (outcome, error) {
		w.watch.Done(ctx, t, w.in)
		return outcome{}, nil
	})
}
