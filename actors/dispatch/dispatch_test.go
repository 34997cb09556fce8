package dispatch

import (
	"context"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
)

// host answers as told, and counts.
type host struct {
	owned bool
	// moves disowns the entity while it handles.
	moves bool
	err   error
	calls int
}

func (h *host) Owned(actors.Ref) bool { return h.owned }

func (h *host) Handle(context.Context, actors.Command) (actors.Outcome, error) {
	h.calls++
	if h.moves {
		h.owned = false
	}
	return actors.Outcome{Sequence: int64(h.calls)}, h.err
}

type doubt struct{}

func (doubt) Error() string   { return "doubt" }
func (doubt) Undecided() bool { return true }

func TestDispatch(t *testing.T) {
	t.Parallel()
	aborted := actors.Errorf(actors.Aborted, "another host")
	unknown := &actors.Error{Code: actors.Aborted, Message: "not known", Cause: doubt{}}
	down := actors.Errorf(actors.Unavailable, "down")
	for _, x := range []struct {
		name          string
		service, key  string
		local         host
		remoteErr     error
		locals, wants int
		code          actors.Code
	}{
		{name: "elsewhere", wants: 1},
		{name: "here", local: host{owned: true}, locals: 1},
		{name: "here, refused", local: host{owned: true, err: actors.Errorf(actors.ResourceExhausted, "full")}, locals: 1, code: actors.ResourceExhausted},
		{name: "here, deadline", local: host{owned: true, moves: true, err: actors.Errorf(actors.DeadlineExceeded, "late")}, locals: 1, code: actors.DeadlineExceeded},
		{name: "conflict", local: host{owned: true, err: aborted}, locals: 1, wants: 1},
		{name: "conflict, and there too", local: host{owned: true, err: aborted}, remoteErr: aborted, locals: 1, wants: 1, code: actors.Aborted},
		{name: "in doubt", local: host{owned: true, err: unknown}, locals: 1, code: actors.Aborted},
		{name: "in doubt with a key", key: "k", local: host{owned: true, err: unknown}, locals: 1, wants: 1},
		{name: "down", local: host{owned: true, err: down}, locals: 1, code: actors.Unavailable},
		{name: "down and moved", local: host{owned: true, moves: true, err: down}, locals: 1, wants: 1},
		{name: "unknown service", service: "nope", code: actors.Unimplemented},
		{name: "action", service: "action", code: actors.Unimplemented},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			remote := &host{err: x.remoteErr}
			d, err := New(Config{
				Kind: func(s string) (actors.Kind, bool) {
					kind, ok := map[string]actors.Kind{"": actors.EventSourced, "action": actors.Action}[s]
					return kind, ok
				},
				Services: func() []string { return []string{"b", "a"} },
				Local:    &x.local,
				Remote:   remote,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.Handle(t.Context(), actors.Command{Ref: actors.Ref{Service: x.service, ID: "x"}, Key: x.key})
			if actors.CodeOf(err) != x.code || x.local.calls != x.locals || remote.calls != x.wants {
				t.Errorf("%v, %d local and %d remote calls", err, x.local.calls, remote.calls)
			}
			if x.service == "nope" && !strings.HasSuffix(err.Error(), "there are a, b") {
				t.Errorf("%q does not name the known ones", err)
			}
		})
	}
}

func TestPureClient(t *testing.T) {
	t.Parallel()
	remote := &host{}
	d, err := New(Config{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Handle(t.Context(), actors.Command{}); err != nil || remote.calls != 1 {
		t.Errorf("%v, %d calls", err, remote.calls)
	}
	d, _ = New(Config{Remote: remote, Kind: func(string) (actors.Kind, bool) { return 0, false }})
	if _, err := d.Handle(t.Context(), actors.Command{Ref: actors.Ref{Service: "x"}}); err == nil || err.Error() != "there is no service x" {
		t.Error(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a Dispatch without Remote was made")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, _ = New(Config{Remote: remote, Local: &host{owned: true, err: actors.Errorf(actors.Aborted, "x")}})
	if _, err := d.Handle(ctx, actors.Command{}); err == nil || remote.calls != 1 {
		t.Error("a caller that had gone away was sent on")
	}
}
