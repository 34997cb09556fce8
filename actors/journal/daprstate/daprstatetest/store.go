// Package daprstatetest has a state store in memory, for tests of the journal in a Dapr state store. Its writes fail as
// told: a real store's replies get lost on the way through the sidecar, and what it was told to write may appear late.
package daprstatetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors/journal/daprstate"
)

// ErrInjected is matched by the errors that a Store makes up.
var ErrInjected = errors.New("injected fault")

// Rates are the shares of writes, 0 to 1, that get each fault.
type Rates struct {
	// Lost are not carried out, LostReply are and fail all the same, Late fail and are carried out afterwards, Twice are
	// carried out two times, as by somebody between who repeats what had no answer.
	Lost, LostReply, Late, Twice float64
	// Read are the reads that fail.
	Read float64
	// Delay is the longest that a late write takes. Defaults to 5 ms.
	Delay time.Duration
}

// Store is a state store in memory.
type Store struct {
	late sync.WaitGroup

	mu     sync.Mutex
	number int
	items  map[string]daprstate.Item
	rates  Rates
	random *rand.Rand
	reads  int
	writes int
	check  error
	before func(what string, keys []string)
}

// New makes an empty store without faults.
func New() *Store { return &Store{items: map[string]daprstate.Item{}} }

// Chance has writes fail at random from now on. Zero rates end it.
func (s *Store) Chance(seed uint64, rates Rates) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rates.Delay == 0 {
		rates.Delay = 5 * time.Millisecond
	}
	s.rates, s.random = rates, rand.New(rand.NewPCG(seed, seed))
}

// Before has a function called before each call of the store is carried out, with the name of the method.
func (s *Store) Before(call func(what string, keys []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = call
}

// Refuse has Check fail.
func (s *Store) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check = err
}

// Calls returns how many calls read and wrote.
func (s *Store) Calls() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.writes
}

// Keys returns how many keys there are.
func (s *Store) Keys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}

// Wait returns when everything late was carried out.
func (s *Store) Wait() { s.late.Wait() }

// Check implements daprstate.Store.
func (s *Store) Check(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.check
}

// Get implements daprstate.Store.
func (s *Store) Get(ctx context.Context, keys []string) ([]daprstate.Item, error) {
	s.notice("get", keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.random != nil && s.random.Float64() < s.rates.Read {
		return nil, fmt.Errorf("get: %w", ErrInjected)
	}
	items := make([]daprstate.Item, len(keys))
	for i, key := range keys {
		items[i] = s.items[key]
		items[i].Key = key
		items[i].Value = append([]byte(nil), items[i].Value...)
	}
	return items, nil
}

// Save implements daprstate.Store.
func (s *Store) Save(ctx context.Context, item daprstate.Item) error {
	item.Value = append([]byte(nil), item.Value...)
	return s.write(ctx, "save", []string{item.Key}, func() error {
		if s.items[item.Key].ETag != item.ETag {
			return errors.New("possible etag mismatch")
		}
		s.set(item)
		return nil
	})
}

func (s *Store) set(item daprstate.Item) {
	s.number++
	item.ETag = fmt.Sprint(s.number)
	s.items[item.Key] = item
}

// Put implements daprstate.Store.
func (s *Store) Put(ctx context.Context, items []daprstate.Item) error {
	copied := make([]daprstate.Item, len(items))
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
		copied[i] = daprstate.Item{Key: item.Key, Value: append([]byte(nil), item.Value...)}
	}
	return s.write(ctx, "put", keys, func() error {
		for _, item := range copied {
			s.set(item)
		}
		return nil
	})
}

// Delete implements daprstate.Store.
func (s *Store) Delete(ctx context.Context, keys []string) error {
	return s.write(ctx, "delete", keys, func() error {
		for _, key := range keys {
			delete(s.items, key)
		}
		return nil
	})
}

func (s *Store) notice(what string, keys []string) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(what, keys)
	}
}

// write carries something out, or not, with the lock.
func (s *Store) write(ctx context.Context, what string, keys []string, do func() error) error {
	s.notice(what, keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.random == nil {
		return do()
	}
	x, r := s.random.Float64(), s.rates
	injected := fmt.Errorf("%s: %w", what, ErrInjected)
	if x < r.Lost {
		return injected
	}
	if x -= r.Lost; x < r.LostReply {
		_ = do()
		return injected
	}
	if x -= r.LostReply; x < r.Late {
		delay := time.Duration(s.random.Int64N(int64(r.Delay)))
		s.late.Go(func() {
			time.Sleep(delay)
			s.mu.Lock()
			defer s.mu.Unlock()
			_ = do()
		})
		return injected
	}
	if x -= r.Late; x < r.Twice {
		_ = do()
	}
	return do()
}
