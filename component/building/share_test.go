package building

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

// slow is a journal that holds its first append, transaction and reading until it is let, and counts its calls.
type slow struct {
	Journal
	let          chan struct{}
	calls        []string
	damaged      string // id of a stream whose last event is
	transactions []error
}

func (s *slow) call(name string, n int) {
	s.calls = append(s.calls, fmt.Sprintf("%s %d", name, n))
	<-s.let
}

func (s *slow) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	s.call("append", len(batch))
	return s.Journal.Append(ctx, batch)
}

func (s *slow) Transact(ctx context.Context, batch []journal.Append) []journal.Result {
	s.call("transact", len(batch))
	if len(s.transactions) > 0 {
		err := s.transactions[0]
		if s.transactions = s.transactions[1:]; err != nil {
			return all(len(batch), journal.Refused, err)
		}
	}
	return s.Journal.Transact(ctx, batch)
}

func (s *slow) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	s.call("last", len(refs))
	if slices.Contains(refs, stateRef(s.damaged)) {
		return nil, &journal.CorruptError{Ref: stateRef(s.damaged), Sequence: 1, Reason: "it is a test"}
	}
	return s.Journal.Last(ctx, refs)
}

// plainAppend sets a key.
func plainAppend(key string, expected int64) journal.Append {
	return journal.Append{
		Ref: stateRef(key), Expected: expected, Command: fmt.Sprintf("%s after %d", key, expected),
		Events: []journal.Event{{Name: eventSet, Payload: actors.Payload{TypeURL: valueType, Data: []byte(key)}}},
	}
}

// shareSlow makes the first call, then the others while it is being carried out, and returns what all got.
func shareSlow[Q, A any](t *testing.T, s *slow, call func(Q) A, questions ...Q) []A {
	t.Helper()
	answers := make([]A, len(questions))
	var group sync.WaitGroup
	for i, q := range questions {
		group.Go(func() { answers[i] = call(q) })
		synctest.Wait()
	}
	close(s.let)
	group.Wait()
	return answers
}

func statuses(results [][]journal.Result) string {
	var words []string
	for _, batch := range results {
		for _, r := range batch {
			words = append(words, r.Status.String())
		}
	}
	return strings.Join(words, ", ")
}

// Appends go together, those of one stream only as long as none of them depends on another.
func TestShareAppends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &slow{Journal: memory.Open(), let: make(chan struct{})}
		s := share(inner)
		got := shareSlow(t, inner, func(batch []journal.Append) []journal.Result { return s.Append(t.Context(), batch) },
			[]journal.Append{plainAppend("first", 0)},
			[]journal.Append{plainAppend("a", 0), plainAppend("b", 0)},
			[]journal.Append{plainAppend("a", 1)},                                      // alone, for it depends on the one before
			[]journal.Append{plainAppend("c", journal.AnySequence)},                    // with a and b
			[]journal.Append{plainAppend("d", 7)},                                      // with them, and wrong
			[]journal.Append{plainAppend("c", journal.AnySequence)},                    // with the other c
			[]journal.Append{plainAppend("c", 2)},                                      // not with them
			[]journal.Append{plainAppend("e", 0), {Ref: actors.Ref{Service: "state"}}}, // the second is no append
		)
		want := "committed, committed, committed, committed, committed, conflict, committed, committed, committed, refused"
		if statuses(got) != want {
			t.Errorf("got  %s\nwant %s", statuses(got), want)
		}
		if want := []string{"append 1", "append 7", "append 2"}; !slices.Equal(inner.calls, want) {
			t.Errorf("the journal got %q, want %q", inner.calls, want)
		}
	})
}

// A batch has its limits in number and size, and takes one request whatever its size is.
func TestShareLimits(t *testing.T) {
	t.Parallel()
	sized := func(key string, n int) []journal.Append {
		a := plainAppend(key, 0)
		a.Events[0].Payload.Data = make([]byte, n)
		return []journal.Append{a}
	}
	var many []journal.Append
	for i := range sharedAppends {
		many = append(many, sized(strconv.Itoa(i), 0)...)
	}
	fits := joinAppends()
	for i, test := range []struct {
		batch []journal.Append
		want  bool
	}{
		{sized("a", 2), true}, {sized("b", sharedBytes-2), true}, {sized("c", 1), false}, {sized("d", 0), true},
		{many[:sharedAppends-2], false}, {many[:sharedAppends-3], true}, {sized("e", 0), false},
	} {
		if got := fits(test.batch); got != test.want {
			t.Errorf("%d: %t", i, got)
		}
	}
	if !joinAppends()(sized("a", 2*sharedBytes)) || !joinAppends()(append(many, many...)) {
		t.Error("what is large alone is not taken at all")
	}
	keys := joinKeys()
	for i, test := range []struct {
		n    int
		want bool
	}{{sharedKeys - 1, true}, {2, false}, {1, true}, {1, false}} {
		if got := keys(make([]actors.Ref, test.n)); got != test.want {
			t.Errorf("keys %d: %t", i, got)
		}
	}
	if !joinKeys()(make([]actors.Ref, 2*sharedKeys)) {
		t.Error("many keys are not taken alone")
	}
}

// Transactions go together as one. Those that are at fault fail alone.
func TestShareTransactions(t *testing.T) {
	t.Parallel()
	two := func(a, b string, expected int64) []journal.Append {
		return []journal.Append{plainAppend(a, 0), plainAppend(b, expected)}
	}
	full := fmt.Errorf("no room: %w", journal.ErrFull)
	for name, test := range map[string]struct {
		batches [][]journal.Append
		errs    []error
		want    string
		calls   []string
	}{
		"all well": {
			[][]journal.Append{two("a", "b", 0), two("c", "d", 0)}, nil,
			"committed, committed, committed, committed", []string{"transact 4"},
		},
		"one out of date": {
			[][]journal.Append{two("a", "b", 0), two("c", "d", 5), two("e", "f", 0)}, nil,
			"committed, committed, refused, conflict, committed, committed", []string{"transact 6", "transact 4"},
		},
		"one that is none": {
			[][]journal.Append{two("a", "b", 0), {plainAppend("c", 0), {Ref: stateRef("d"), Command: "none"}}}, nil,
			"committed, committed, refused, refused", []string{"transact 4", "transact 2", "transact 2"},
		},
		"the journal does not say which": {
			[][]journal.Append{two("a", "b", 0), two("c", "d", 0)}, []error{nil, errors.New("a strange value")},
			"committed, committed, committed, committed", []string{"transact 4", "transact 2", "transact 2"},
		},
		"full": {
			[][]journal.Append{two("a", "b", 0), two("c", "d", 0)}, []error{nil, full},
			"refused, refused, refused, refused", []string{"transact 4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := &slow{Journal: memory.Open(), let: make(chan struct{}), transactions: test.errs}
				s := share(inner)
				got := shareSlow(t, inner, func(batch []journal.Append) []journal.Result { return s.Transact(t.Context(), batch) },
					append([][]journal.Append{two("first", "second", 0)}, test.batches...)...)
				if want := "committed, committed, " + test.want; statuses(got) != want {
					t.Errorf("got  %s\nwant %s", statuses(got), want)
				}
				if want := append([]string{"transact 2"}, test.calls...); !slices.Equal(inner.calls, want) {
					t.Errorf("the journal got %q, want %q", inner.calls, want)
				}
			})
		})
	}
}

// Readings go together. A damaged stream is the trouble of who asked for it.
func TestShareReadings(t *testing.T) {
	t.Parallel()
	for _, damaged := range []string{"", "b"} {
		synctest.Test(t, func(t *testing.T) {
			inner := &slow{Journal: memory.Open(), let: make(chan struct{}), damaged: damaged}
			inner.Journal.Append(t.Context(), []journal.Append{plainAppend("a", 0), plainAppend("b", 0)})
			s := share(inner)
			got := shareSlow(t, inner, func(keys []string) string {
				refs := make([]actors.Ref, len(keys))
				for i, key := range keys {
					refs[i] = stateRef(key)
				}
				events, err := s.Last(t.Context(), refs)
				text := fmt.Sprint(errors.Is(err, journal.ErrCorrupt))
				for _, e := range events {
					text += fmt.Sprintf(" %s@%d", e.Payload.Data, e.Sequence)
				}
				return text
			}, []string{"a"}, []string{"a", "none"}, []string{"b"}, nil, []string{"none", "a"})
			want := []string{"false a@1", "false a@1 @0", "false b@1", "false", "false @0 a@1"}
			calls := []string{"last 1", "last 5"}
			if damaged != "" {
				want[2] = "true"
				calls = append(calls, "last 2", "last 1", "last 0", "last 2")
			}
			if !slices.Equal(got, want) || !slices.Equal(inner.calls, calls) {
				t.Errorf("got %q by %q\nwant %q by %q", got, inner.calls, want, calls)
			}
		})
	}
}

// TestManyWriters: whatever the journal does to what many write at the same time, every write that was acknowledged has
// happened once, and what was not is where its answer says.
func TestManyWriters(t *testing.T) {
	t.Parallel()
	const writers, each = 16, 30
	f := journaltest.NewFaulty(memory.Open())
	r := store(t, f, nil)
	f.Chance(1, journaltest.Rates{Lost: 0.05, LostReply: 0.05, Refuse: 0.05, Conflict: 0.05, Slow: 0.3})
	var done, unsure [4]atomic.Int64 // by key
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				k := (w + i) % 3
				key := "k" + strconv.Itoa(k)
				var err error
				switch i % 4 {
				case 0:
					err = r.transact(setOp(key, "x", nil), setOp("k3", "x", nil))
				case 1: // an ETag that somebody else may be faster with
					var resp *components.GetResponse
					if resp, err = r.state.Get(r.ctx, &components.GetRequest{Key: key}); err == nil {
						err = r.set(key, "x", resp.GetEtag(), firstWrite)
					}
				default:
					err = r.set(key, "x", nil, nil)
				}
				keys := []int{k}
				if i%4 == 0 {
					keys = append(keys, 3)
				}
				for _, k := range keys {
					switch code := status.Code(err); {
					case err == nil:
						done[k].Add(1)
					case code == codes.Aborted: // it says that it does not know
						unsure[k].Add(1)
					case code != codes.FailedPrecondition && code != codes.Unavailable:
						t.Errorf("k%d: %v", k, err)
					}
				}
			}
		})
	}
	group.Wait()
	f.Chance(0, journaltest.Rates{})
	for k := range done {
		key := "k" + strconv.Itoa(k)
		_, tag, _ := strings.Cut(r.value(t, key), "@")
		n, _ := strconv.ParseInt(tag, 10, 64)
		if least := done[k].Load(); n < least || n > least+unsure[k].Load() {
			t.Errorf("%s has the ETag %s; %d writes were acknowledged, of %d it was not known", key, tag, least, unsure[k].Load())
		}
	}
	if f.Struck() == 0 {
		t.Error("no fault has struck")
	}
}
