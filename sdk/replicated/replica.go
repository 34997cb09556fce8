package replicated

import (
	"context"
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// kind is what all entities of a service share.
type kind[D Data] struct {
	entity   Entity[D]
	commands map[string]*Command[D]
}

// replicate makes an entity without data.
func (k *kind[D]) replicate(id string) (def.Replica, error) {
	r := &replica[D]{kind: k, id: id}
	var err error
	fault := def.Contain(func() {
		if k.entity.New == nil {
			r.data, _ = zero[D]()
		} else if r.data = k.entity.New(id); none(r.data) {
			err = errors.New("New returned nil")
			return
		}
		n := r.data.place()
		if n.owner != nil || n.guard != nil {
			err = errors.New("New returned data that is in use")
			return
		}
		r.data.revert()
		n.guard = &r.guard
	})
	switch {
	case fault != nil:
		return nil, fault
	case err != nil:
		return nil, err
	}
	return r, nil
}

// replica is a live entity. It is its def.Replica.
type replica[D Data] struct {
	kind  *kind[D]
	id    string
	data  D
	guard guard
}

func (r *replica[D]) Apply(d *pb.CrdtDelta) (err error) {
	if fault := def.Contain(func() { err = r.data.apply(d) }); fault != nil {
		return fault
	}
	return err
}

func (r *replica[D]) Value() *pb.CrdtDelta { return r.data.value() }

func (r *replica[D]) Data() any { return r.data }

func (r *replica[D]) Settle(keep bool) {
	if keep {
		r.data.settle()
	} else {
		r.data.revert()
	}
}

func (r *replica[D]) Handle(ctx context.Context, command def.Command) def.Result {
	c, ok := r.kind.commands[command.Name]
	if !ok {
		return def.Result{Failure: turn.Unknown(r.kind.entity.Service, command.Name, turn.Names(r.kind.commands))}
	}
	if c.streamed && !command.Streamed {
		return def.Result{Failure: turn.Refused(sdk.Errorf(sdk.CodeUnimplemented,
			"%s of %s has streamed replies, and was called as if it had one", c.name, c.service))}
	}
	return r.turn(command, !c.reads, c.streamed, func(t *Turn[D]) (outcome, error) { return c.run(ctx, t, command.Payload) })
}

// turn runs f as a turn, and takes back what it did if it fails.
func (r *replica[D]) turn(command def.Command, writes, streamed bool, f func(*Turn[D]) (outcome, error)) def.Result {
	t := &Turn[D]{replica: r, command: command, level: r.kind.entity.Write, streamed: streamed}
	r.guard = guard{open: writes}
	var (
		done  outcome
		delta *pb.CrdtDelta
		err   error
	)
	fault := def.Contain(func() {
		if done, err = f(t); err == nil {
			delta = r.data.delta()
		}
	})
	t.replica, r.guard.open = nil, false
	failure := r.failure(command.Name, t.refused, fault, err)
	if failure != nil {
		r.data.revert()
		return def.Result{Failure: failure}
	}
	result := def.Result{
		Reply:    done.reply,
		Watcher:  done.watcher,
		Ended:    done.ended,
		Metadata: t.sent.Metadata,
		Forward:  t.sent.Forward,
		Effects:  t.sent.Effects,
	}
	switch {
	case t.deleted:
		result.Write = &def.Write{Level: t.level.wire()}
	case delta != nil:
		result.Write = &def.Write{Delta: delta, Level: t.level.wire()}
	}
	return result
}

// failure is nil for a turn that succeeded.
func (r *replica[D]) failure(command string, refused error, fault *def.Fault, err error) *def.Failure {
	switch {
	case refused != nil:
	case r.guard.refused != nil:
		refused = r.guard.refused
		if _, coded := errors.AsType[*sdk.Error](refused); coded {
			return turn.Refused(fmt.Errorf("%s of %s: %w", command, r.kind.entity.Service, refused))
		}
	case fault != nil:
		refused = fault
	case err != nil:
		return turn.Refused(err)
	default:
		return nil
	}
	return turn.Broken(r.kind.entity.Service, command, refused)
}
