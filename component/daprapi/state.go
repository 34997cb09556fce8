package daprapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	common "github.com/dapr/dapr/pkg/proto/common/v1"
	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors/journal/daprstate"
)

// bulkParallelism is how many keys daprd reads at the same time from stores that cannot read many at once.
const bulkParallelism = 16

// StateStore returns a state store of the sidecar as the place of a journal.
func (c *Client) StateStore(name string) daprstate.Store { return &stateStore{client: c, name: name} }

type stateStore struct {
	client *Client
	name   string
	// transactions says that many keys may be written with one.
	transactions atomic.Bool
	refusals     atomic.Int64
}

// Check implements daprstate.Store.
func (s *stateStore) Check(ctx context.Context) error {
	sidecar, err := s.client.Metadata(ctx)
	if err != nil {
		return err
	}
	component, ok := sidecar.Component(s.name)
	switch {
	case !ok:
		return fmt.Errorf("the sidecar has no component %q; give it one of a type state.…, or change the setting journal", s.name)
	case !strings.HasPrefix(component.Type, "state."):
		return fmt.Errorf("the component %q is a %s; the setting journal has to name a state store", s.name, component.Type)
	case component.Type == "state.entities":
		return fmt.Errorf("the component %q is this one: it cannot keep its own journal; name another state store in the setting journal", s.name)
	case !slices.Contains(component.Capabilities, "ETAG"):
		return fmt.Errorf("the state store %q (%s) has no ETags, without which two writers cannot be told apart; name another state store in the setting journal", s.name, component.Type)
	}
	s.transactions.Store(slices.Contains(component.Capabilities, "TRANSACTIONAL"))
	return nil
}

// Get implements daprstate.Store.
func (s *stateStore) Get(ctx context.Context, keys []string) ([]daprstate.Item, error) {
	if len(keys) == 1 {
		r, err := s.client.dapr.GetState(ctx, &runtime.GetStateRequest{
			StoreName: s.name, Key: keys[0], Consistency: common.StateOptions_CONSISTENCY_STRONG,
		})
		if err != nil {
			return nil, s.failed(err)
		}
		return []daprstate.Item{item(keys[0], r.GetData(), r.GetEtag())}, nil
	}
	r, err := s.client.dapr.GetBulkState(ctx, &runtime.GetBulkStateRequest{
		StoreName: s.name, Keys: keys, Parallelism: bulkParallelism,
	})
	if err != nil {
		return nil, s.failed(err)
	}
	found := make(map[string]*runtime.BulkStateItem, len(keys))
	for _, i := range r.GetItems() {
		if text := i.GetError(); text != "" {
			return nil, fmt.Errorf("the state store %q: %s", s.name, short(text))
		}
		found[i.GetKey()] = i
	}
	items := make([]daprstate.Item, len(keys))
	for n, key := range keys {
		i := found[key]
		items[n] = item(key, i.GetData(), i.GetEtag())
	}
	return items, nil
}

// item has no ETag if it has no value: some stores give one to keys that are not there.
func item(key string, value []byte, etag string) daprstate.Item {
	if len(value) == 0 {
		return daprstate.Item{Key: key}
	}
	return daprstate.Item{Key: key, Value: value, ETag: etag}
}

// Save implements daprstate.Store.
func (s *stateStore) Save(ctx context.Context, item daprstate.Item) error {
	state := &common.StateItem{Key: item.Key, Value: item.Value, Options: &common.StateOptions{
		Concurrency: common.StateOptions_CONCURRENCY_FIRST_WRITE, Consistency: common.StateOptions_CONSISTENCY_STRONG,
	}}
	if item.ETag != "" {
		state.Etag = &common.Etag{Value: item.ETag}
	}
	_, err := s.client.dapr.SaveState(ctx, &runtime.SaveStateRequest{StoreName: s.name, States: []*common.StateItem{state}})
	return s.failed(err)
}

// Put implements daprstate.Store. Many items are one transaction where the store has them, because most stores do that
// faster than many saves, and SQLite does not do many saves side by side at all. Nothing depends on it being one: some
// stores have transactions over certain keys only, so a failed one is tried as saves, and given up when those succeed.
func (s *stateStore) Put(ctx context.Context, items []daprstate.Item) error {
	states := make([]*common.StateItem, len(items))
	for i, item := range items {
		states[i] = &common.StateItem{Key: item.Key, Value: item.Value, Options: &common.StateOptions{
			Concurrency: common.StateOptions_CONCURRENCY_LAST_WRITE, Consistency: common.StateOptions_CONSISTENCY_STRONG,
		}}
	}
	return s.many(ctx, "upsert", states, func() error {
		_, err := s.client.dapr.SaveState(ctx, &runtime.SaveStateRequest{StoreName: s.name, States: states})
		return s.failed(err)
	})
}

// Delete implements daprstate.Store.
func (s *stateStore) Delete(ctx context.Context, keys []string) error {
	states := make([]*common.StateItem, len(keys))
	for i, key := range keys {
		states[i] = &common.StateItem{Key: key}
	}
	return s.many(ctx, "delete", states, func() error {
		_, err := s.client.dapr.DeleteBulkState(ctx, &runtime.DeleteBulkStateRequest{StoreName: s.name, States: states})
		return s.failed(err)
	})
}

func (s *stateStore) many(ctx context.Context, operation string, states []*common.StateItem, each func() error) error {
	if len(states) == 1 || !s.transactions.Load() {
		return each()
	}
	operations := make([]*runtime.TransactionalStateOperation, len(states))
	for i, state := range states {
		operations[i] = &runtime.TransactionalStateOperation{OperationType: operation, Request: state}
	}
	_, err := s.client.dapr.ExecuteStateTransaction(ctx, &runtime.ExecuteStateTransactionRequest{StoreName: s.name, Operations: operations})
	if err == nil || ctx.Err() != nil || status.Code(err) == codes.Unavailable {
		return s.failed(err)
	}
	if each() != nil {
		return s.failed(err)
	}
	if s.refusals.Add(1) >= transactionRefusals {
		s.transactions.Store(false)
	}
	return nil
}

// transactionRefusals is how many transactions have to fail, though what they were to do can be done, before no more are
// tried.
const transactionRefusals = 3

// failed keeps contexts recognisable, and says what was too big for a message.
func (s *stateStore) failed(err error) error {
	if err == nil {
		return nil
	}
	text := short(status.Convert(err).Message())
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return fmt.Errorf("the state store %q: %w (%s)", s.name, daprstate.ErrTooBig, text)
	case codes.Canceled:
		return fmt.Errorf("the state store %q: %w", s.name, context.Canceled)
	case codes.DeadlineExceeded:
		return fmt.Errorf("the state store %q: %w", s.name, context.DeadlineExceeded)
	case codes.Unavailable:
		return fmt.Errorf("the state store %q: the sidecar at %s cannot be reached (%s)", s.name, s.client.config.Endpoint, text)
	}
	return fmt.Errorf("the state store %q: %s", s.name, text)
}
