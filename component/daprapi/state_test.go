package daprapi

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	common "github.com/dapr/dapr/pkg/proto/common/v1"
	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/actors/journal/daprstate"
)

// states is a sidecar with a scripted state store. Real ones are used in tests/statestores.
type states struct {
	sidecar

	mu           sync.Mutex
	saved        []*common.StateItem
	transactions int
	fail         func(call string) error
}

func (s *states) called(call string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(call)
}

func (s *states) GetState(context.Context, *runtime.GetStateRequest) (*runtime.GetStateResponse, error) {
	return &runtime.GetStateResponse{Data: []byte("one"), Etag: "7"}, s.called("get")
}

func (s *states) GetBulkState(_ context.Context, r *runtime.GetBulkStateRequest) (*runtime.GetBulkStateResponse, error) {
	if err := s.called("bulk"); err != nil {
		return nil, err
	}
	// In another order, without a key that is not there, and with an ETag of one that has no value.
	return &runtime.GetBulkStateResponse{Items: []*runtime.BulkStateItem{
		{Key: r.GetKeys()[2], Data: []byte("c"), Etag: "3"}, {Key: r.GetKeys()[1], Etag: "2"}, {Key: r.GetKeys()[0], Data: []byte("a"), Etag: "1"},
	}}, nil
}

func (s *states) SaveState(_ context.Context, r *runtime.SaveStateRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = append(s.saved, r.GetStates()...)
	return &emptypb.Empty{}, s.called("save")
}

func (s *states) ExecuteStateTransaction(context.Context, *runtime.ExecuteStateTransactionRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transactions++
	return &emptypb.Empty{}, s.called("transaction")
}

func (s *states) serve(t *testing.T) daprstate.Store {
	t.Helper()
	s.metadata = func() (*runtime.GetMetadataResponse, error) {
		return &runtime.GetMetadataResponse{RegisteredComponents: []*runtime.RegisteredComponents{
			{Name: "good", Type: "state.redis", Capabilities: []string{"ETAG", "TRANSACTIONAL"}},
			{Name: "plain", Type: "state.memcached"}, {Name: "bus", Type: "pubsub.redis"}, {Name: "own", Type: "state.entities", Capabilities: []string{"ETAG"}},
		}}, nil
	}
	c := serveOn(t, s, Config{})
	return c.StateStore("good")
}

func TestStateStoreCheck(t *testing.T) {
	t.Parallel()
	s := &states{}
	good := s.serve(t).(*stateStore)
	for name, want := range map[string]string{
		"good": "", "none": "has no component", "plain": "has no ETags", "bus": "has to name a state store", "own": "cannot keep its own journal",
	} {
		err := good.client.StateStore(name).Check(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestStateStore(t *testing.T) {
	t.Parallel()
	s := &states{}
	store := s.serve(t)
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	items, err := store.Get(t.Context(), []string{"a", "b", "c"})
	want := []daprstate.Item{{Key: "a", Value: []byte("a"), ETag: "1"}, {Key: "b"}, {Key: "c", Value: []byte("c"), ETag: "3"}}
	if diff := cmp.Diff(want, items); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, etag := range []string{"", "7"} {
		if err := store.Save(t.Context(), daprstate.Item{Key: "k", Value: []byte("v"), ETag: etag}); err != nil {
			t.Fatal(err)
		}
		last := s.saved[len(s.saved)-1]
		if (last.GetEtag() != nil) != (etag != "") || last.GetEtag().GetValue() != etag || last.GetOptions().GetConcurrency() != common.StateOptions_CONCURRENCY_FIRST_WRITE {
			t.Errorf("saved %v", last)
		}
	}

	// Many are one transaction, until transactions fail where saves do not.
	two := []daprstate.Item{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}}
	if err := store.Put(t.Context(), two); err != nil || s.transactions != 1 {
		t.Errorf("%d transactions, %v", s.transactions, err)
	}
	s.fail = func(call string) error {
		if call == "transaction" {
			return status.Error(codes.Internal, "not over these keys")
		}
		return nil
	}
	for range 5 {
		if err := store.Put(t.Context(), two); err != nil {
			t.Error(err)
		}
	}
	if s.transactions != 1+transactionRefusals {
		t.Errorf("%d transactions were tried", s.transactions)
	}
	if n := s.saved[len(s.saved)-1].GetOptions().GetConcurrency(); n != common.StateOptions_CONCURRENCY_LAST_WRITE {
		t.Errorf("put with %v", n)
	}
}

func TestStateStoreErrors(t *testing.T) {
	t.Parallel()
	s := &states{}
	store := s.serve(t)
	for code, want := range map[codes.Code]error{
		codes.ResourceExhausted: daprstate.ErrTooBig, codes.Canceled: context.Canceled, codes.DeadlineExceeded: context.DeadlineExceeded,
		codes.Aborted: nil, codes.Unavailable: nil,
	} {
		s.fail = func(string) error { return status.Error(code, "why") }
		_, err := store.Get(t.Context(), []string{"a"})
		_, err2 := store.Get(t.Context(), []string{"a", "b", "c"})
		for _, err := range []error{err, err2, store.Save(t.Context(), daprstate.Item{Key: "a"}), store.Put(t.Context(), []daprstate.Item{{Key: "a"}})} {
			if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), `"good"`) {
				t.Errorf("%v: %v", code, err)
			}
		}
	}
}
