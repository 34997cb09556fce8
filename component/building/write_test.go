package building

import (
	"context"
	"fmt"
	"strings"
	"testing"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

// TestJournalFaults: whatever the journal does to a write, it is done once or not at all, and the answer says which.
func TestJournalFaults(t *testing.T) {
	t.Parallel()
	writes := map[string]func(r *rig) error{
		"last write":  func(r *rig) error { return r.set("k", "new", nil, nil) },
		"with etag":   func(r *rig) error { return r.set("k", "new", etag("1"), nil) },
		"first write": func(r *rig) error { return r.set("fresh", "new", nil, firstWrite) },
		"delete":      func(r *rig) error { return r.del("k", nil) },
		"transaction": func(r *rig) error { return r.transact(setOp("k", "new", nil), setOp("other", "new", nil)) },
	}
	after := map[string]map[string]string{
		"last write":  {"k": "new@2"},
		"with etag":   {"k": "new@2"},
		"first write": {"k": "old@1", "fresh": "new@1"},
		"delete":      {"k": "<nothing>"},
		"transaction": {"k": "new@2", "other": "new@1"},
	}
	for name, write := range writes {
		for _, fault := range []journaltest.Fault{journaltest.Lost, journaltest.LostReply, journaltest.Late, journaltest.Conflict} {
			t.Run(fmt.Sprintf("%s/%s", name, fault), func(t *testing.T) {
				t.Parallel()
				inner := memory.Open()
				f := journaltest.NewFaulty(inner)
				hold := make(chan struct{})
				r := store(t, f, nil)
				if err := r.set("k", "old", nil, nil); err != nil {
					t.Fatal(err)
				}
				d := journaltest.Disturbance{Call: journaltest.CallAppend, Fault: fault}
				if fault == journaltest.Late {
					d.Hold = hold
				}
				f.Disturb(d)
				if err := write(r); err != nil {
					t.Fatal(err)
				}
				for key, value := range after[name] {
					r.want(t, key, value)
				}
				// A write that comes late must not come any more: others may have followed.
				if err := r.set("k", "newest", nil, nil); err != nil {
					t.Error(err)
				}
				close(hold)
				waitFor(t, func() bool { return f.Pending() == 0 })
				if got := r.value(t, "k"); !strings.HasPrefix(got, "newest@") {
					t.Errorf("an old write came back: %s", got)
				}
				if f.Struck() == 0 {
					t.Error("the fault did not strike")
				}
			})
		}
		t.Run(name+"/refuse", func(t *testing.T) {
			t.Parallel()
			f := journaltest.NewFaulty(memory.Open())
			r := store(t, f, nil)
			if err := r.set("k", "old", nil, nil); err != nil {
				t.Fatal(err)
			}
			f.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Fault: journaltest.Refuse})
			wantCode(t, write(r), codes.Unavailable)
			r.want(t, "k", "old@1")
		})
	}
}

// TestUnresolved: when not even finding out works, the answer says so.
func TestUnresolved(t *testing.T) {
	t.Parallel()
	f := journaltest.NewFaulty(memory.Open())
	r := store(t, f, nil)
	f.Disturb(
		journaltest.Disturbance{Call: journaltest.CallAppend, Fault: journaltest.LostReply},
		journaltest.Disturbance{Call: journaltest.CallHeads, Fault: journaltest.Lost},
	)
	err := r.set("k", "x", nil, nil)
	wantCode(t, err, codes.Aborted)
	if err == nil || !strings.Contains(err.Error(), "not known whether it happened") {
		t.Error(err)
	}
	f.Close()
	wantCode(t, r.set("k", "x", nil, nil), codes.Unavailable)
	_, err = r.state.Get(r.ctx, &components.GetRequest{Key: "k"})
	wantCode(t, err, codes.Unavailable)
}

// TestFencedStream: a stream that something fenced takes writes all the same.
func TestFencedStream(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	r := store(t, j, nil)
	if _, err := j.Fence(context.Background(), stateRef("k"), 41); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		r.set("k", "1", nil, firstWrite), r.set("k", "2", nil, nil), r.set("k", "3", etag("2"), nil),
		r.transact(setOp("k", "4", nil), setOp("l", "1", nil)),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	r.want(t, "k", "4@4")
}
