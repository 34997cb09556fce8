package tck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/tests/harness"
)

// askReplicated calls a replicated entity.
func (p *theatre) askReplicated(t *testing.T, id string, steps ...step) *called {
	t.Helper()
	return p.begin(t, "/"+replicatedFirst+"/Process", p.replicatedRequest(t, id, steps...))
}

// beginsReplicated is the next stream of a replicated entity, to its first command.
func (p *theatre) beginsReplicated(t *testing.T, id string, state *crdt.CrdtDelta) *exchange {
	t.Helper()
	x := p.next(t, replicatedPath)
	x.given(t, replicatedInit(replicatedFirst, id, state))
	return x
}

// turnReplicated is the user function's side of a call that is under way, to its good end.
func (p *theatre) turnReplicated(t *testing.T, x *exchange, c *called, id string, n int64, want replicatedAnswer, steps ...step) {
	t.Helper()
	x.given(t, replicatedCommand(p.processCommand(t, id, n, steps...)))
	x.say(p.replicatedReply(t, n, want))
	p.repliedReplicated(t, c, want.state)
}

func (p *theatre) repliedReplicated(t *testing.T, c *called, state *crdt.CrdtDelta) {
	t.Helper()
	<-c.done
	if c.err != nil {
		t.Fatalf("%s: %v", c.method, c.err)
	}
	equal(t, "the reply", p.decode(t, modelC+"Response", p.replicatedResponse(t, state).GetValue()), p.decode(t, modelC+"Response", c.reply))
}

// TestReplicatedViolations has a user function break the protocol of replicated entities.
func TestReplicatedViolations(t *testing.T) {
	t.Parallel()
	p := startTheatre(t)
	p.next(t, discoverPath)
	reply := func(n int64, want replicatedAnswer) *crdt.CrdtStreamOut { return p.replicatedReply(t, n, want) }
	failure := func(n int64) *crdt.CrdtStreamOut {
		return &crdt.CrdtStreamOut{Message: &crdt.CrdtStreamOut_Failure{Failure: &cloudstate.Failure{CommandId: n, Description: "its own words"}}}
	}
	good := replicatedAnswer{state: gcounter(2), update: gcounter(1)}
	const (
		termination = "Unexpected CRDT entity termination"
		broke       = "the user function broke the protocol of "
	)
	neighbour, turns := freshKind("GCounter"), int64(0)
	var y *exchange
	visit := func(t *testing.T) {
		t.Helper()
		c := p.askReplicated(t, neighbour)
		if turns++; turns == 1 {
			y = p.beginsReplicated(t, neighbour, nil)
		}
		p.turnReplicated(t, y, c, neighbour, turns, replicatedAnswer{state: gcounter(7)})
	}
	visit(t)
	for _, v := range []struct {
		name string
		says func(x *exchange, n int64)
		// text is what the caller gets, and what the user function is told besides, with {} for the entity. of says that the
		// message was about the command: it is the command that fails then, and otherwise the session that ended.
		text   string
		of     bool
		silent bool
		lives  bool
		code   codes.Code // of a command that failed; UNKNOWN if there is none
	}{
		{"bytes that are no message", func(x *exchange, _ int64) { x.utter("\x0a\xff" + secret) }, termination, true, true, false, 0},
		{"the end", func(x *exchange, _ int64) { x.end(nil) }, termination, true, true, false, 0},
		{"an error", func(x *exchange, _ int64) { x.end(status.Error(codes.Internal, secret)) }, termination, true, true, false, 0},
		{"a reply to another command", func(x *exchange, n int64) { x.say(reply(n+7, good)) },
			broke + "{}: it answered the command 9, which is not to be answered", false, false, false, 0},
		{"a reply to no command", func(x *exchange, _ int64) { x.say(reply(0, good)) },
			broke + "{}: it answered the command 0, which is not to be answered", false, false, false, 0},
		{"a stream of answers to a command that is not streamed", func(x *exchange, n int64) {
			want := good
			want.streamed = true
			x.say(reply(n, want))
		}, broke + "{}: it answered the command 2 with a stream, and Process is not streamed", true, false, false, 0},
		{"an empty delta", func(x *exchange, n int64) {
			x.say(reply(n, replicatedAnswer{state: gcounter(2), update: new(crdt.CrdtDelta)}))
		},
			"Unexpected CRDT entity reply: the user function broke the protocol: an empty delta", true, false, false, 0},
		{"another kind", func(x *exchange, n int64) {
			x.say(reply(n, replicatedAnswer{state: gcounter(2), update: pncounter(1)}))
		},
			"the PNCounter by which the user function answered Process to {} cannot be applied: …", true, false, false, 0},
		{"a counter that is too large", func(x *exchange, n int64) {
			x.say(reply(n, replicatedAnswer{state: gcounter(2), update: gcounter(math.MaxUint64)}))
		}, "the GCounter by which the user function answered Process to {} cannot be applied: …", true, false, false, codes.OutOfRange},
		{"failure of no command", func(x *exchange, _ int64) { x.say(failure(0)) }, broke + "{}: it gave up the entity: its own words", false, false, false, 0},
		{"failure of the command", func(x *exchange, n int64) { x.say(failure(n)) }, "its own words", true, true, true, 0},
	} {
		t.Run("X-P36 "+v.name, func(t *testing.T) {
			id := freshKind("GCounter")
			c := p.askReplicated(t, id, "+1")
			x := p.beginsReplicated(t, id, nil)
			p.turnReplicated(t, x, c, id, 1, replicatedAnswer{state: gcounter(1), update: gcounter(1)}, "+1")

			c = p.askReplicated(t, id, "+1")
			x.given(t, replicatedCommand(p.processCommand(t, id, 2, "+1")))
			v.says(x, 2)
			entity := replicatedFirst + "/" + id
			text := strings.ReplaceAll(v.text, "{}", entity)
			if v.of {
				c.failed(t, cmp.Or(v.code, codes.Unknown), text)
			} else {
				c.failed(t, codes.Aborted, "the session of "+entity+" ended before Process was answered ("+text+"); nothing came of it; try again")
			}
			if !v.silent {
				r := p.next(t, reportPath)
				said := r.take(t, &r.in, "to").(*cloudstate.UserFunctionError).GetMessage()
				if begin, _ := strings.CutSuffix(text, "…"); !strings.HasPrefix(said, begin) || !strings.HasSuffix(said, " ("+entity+")") {
					t.Errorf("the report is %q, want %q and the entity", said, text)
				}
			}

			// Nothing came of it, and what was there is there.
			c = p.askReplicated(t, id, "+2")
			if v.lives {
				p.turnReplicated(t, x, c, id, 3, replicatedAnswer{state: gcounter(3), update: gcounter(2)}, "+2")
			} else {
				x.closes(t, patience)
				x = p.beginsReplicated(t, id, gcounter(1))
				p.turnReplicated(t, x, c, id, 1, replicatedAnswer{state: gcounter(3), update: gcounter(2)}, "+2")
			}
			visit(t)
			p.quiet(t, x, y)
		})
	}
}

// TestTwoReplicas puts two components with user functions of their own on one journal: each has a copy of its own, and is
// told what the other one did.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	database := postgrestest.URL(t)
	s := startSystem(t)
	var nodes []*theatre
	for _, name := range []string{"left", "right"} {
		p := newTheatre(t)
		nodes = append(nodes, p)
		p.start(t, s, harness.HostOptions{Name: name, AppID: "two", Journal: database, Metadata: map[string]string{"slotTimeout": "3s"}})
	}
	left, right := nodes[0], nodes[1]
	id := freshKind("PNCounter")
	t.Run("X-P37 deltas", func(t *testing.T) {
		c := left.askReplicated(t, id, "+5")
		x := left.beginsReplicated(t, id, nil)
		left.turnReplicated(t, x, c, id, 1, replicatedAnswer{state: pncounter(5), update: pncounter(5), consistency: crdt.CrdtWriteConsistency_ALL}, "+5")
		c = right.askReplicated(t, id)
		y := right.beginsReplicated(t, id, pncounter(5))
		right.turnReplicated(t, y, c, id, 1, replicatedAnswer{state: pncounter(5)})

		// What one says, the other is told, and not its own.
		c = right.askReplicated(t, id, "-7")
		right.turnReplicated(t, y, c, id, 2, replicatedAnswer{state: pncounter(-2), update: pncounter(-7)}, "-7")
		left.await(t, 20*time.Second, "that the nodes know each other", func() bool { return len(x.in) > 0 })
		x.given(t, told(pncounter(-7)))
		left.quiet(t, x)
		right.quiet(t, y)

		// While a command is at work nothing is told; then all at once.
		c = left.askReplicated(t, id, "+100")
		x.given(t, replicatedCommand(left.processCommand(t, id, 2, "+100")))
		for n, change := range []int64{1, 2, 3} {
			d := right.askReplicated(t, id, step(fmt.Sprintf("%+d", change)))
			right.turnReplicated(t, y, d, id, int64(n+3), replicatedAnswer{
				state: pncounter(0), update: pncounter(change), consistency: crdt.CrdtWriteConsistency_ALL,
			}, step(fmt.Sprintf("%+d", change)))
		}
		left.quiet(t, x)
		x.say(left.replicatedReply(t, 2, replicatedAnswer{state: pncounter(98), update: pncounter(100)}))
		left.repliedReplicated(t, c, pncounter(98))
		x.given(t, told(pncounter(6)))
		y.given(t, told(pncounter(100)))
		left.quiet(t, x)
		right.quiet(t, y)
	})
	t.Run("X-P38 deletion", func(t *testing.T) {
		id := freshKind("GSet")
		c := left.askReplicated(t, id, "add a")
		x := left.beginsReplicated(t, id, nil)
		left.turnReplicated(t, x, c, id, 1, replicatedAnswer{state: gset("a"), update: gset("a"), consistency: crdt.CrdtWriteConsistency_ALL}, "add a")
		c = right.askReplicated(t, id)
		y := right.beginsReplicated(t, id, gset("a"))
		right.turnReplicated(t, y, c, id, 1, replicatedAnswer{state: gset("a")})
		c = left.askReplicated(t, id, "delete")
		left.turnReplicated(t, x, c, id, 2, replicatedAnswer{state: gset("a"), delete: true}, "delete")
		x.closes(t, patience)
		y.given(t, &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Delete{Delete: &crdt.CrdtDelete{}}})
		y.closes(t, patience)
		left.quiet(t, x)
		right.quiet(t, y)
	})
	t.Run("X-P39 what a node wrote that has gone", func(t *testing.T) {
		id := freshKind("ORSet")
		c := left.askReplicated(t, id, "add a")
		x := left.beginsReplicated(t, id, nil)
		left.turnReplicated(t, x, c, id, 1, replicatedAnswer{state: orset("a"), update: orset("+a")}, "add a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := errors.Join(left.host.Daprd.Stop(ctx), left.host.Component.Stop(ctx)); err != nil {
			t.Fatal(err)
		}
		x.closes(t, patience)
		left.quiet(t, x)
		c = right.askReplicated(t, id, "add b")
		y := right.beginsReplicated(t, id, orset("a"))
		right.turnReplicated(t, y, c, id, 1, replicatedAnswer{state: orset("a b"), update: orset("+b")}, "add b")
		right.quiet(t, y)
	})
}

func told(delta *crdt.CrdtDelta) *crdt.CrdtStreamIn {
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Delta{Delta: delta}}
}
