package daprstate

import (
	"context"
	"errors"
	"fmt"
)

// ErrTooBig is matched by the error of something that does not fit into a message.
var ErrTooBig = errors.New("it is too big for the state store")

// Store is a state store of Dapr. All methods may be called from many goroutines at once. Any error of a method that
// writes leaves in doubt whether it was done, and what it wrote may still appear later.
type Store interface {
	// Check says what the store lacks, or why it cannot be used now. It is called before anything else, and again until it
	// returns nil.
	Check(ctx context.Context) error
	// Get returns the items of keys, in the order of the keys, each as it was at some moment during the call. An error that
	// matches ErrTooBig has it called again with fewer keys.
	Get(ctx context.Context, keys []string) ([]Item, error)
	// Save sets one key, if and only if it still has the item's ETag; the empty ETag is that of a key that is not there.
	// Keys that are saved are never put.
	Save(ctx context.Context, item Item) error
	// Put sets keys whatever they hold, in any order. ETags are not looked at.
	Put(ctx context.Context, items []Item) error
	// Delete removes keys, whatever they hold. Those that are not there do no harm.
	Delete(ctx context.Context, keys []string) error
}

// Item is a key and what it holds.
type Item struct {
	Key   string
	Value []byte
	// ETag is empty if there is no such key.
	ETag string
}

// What goes into one message. daprd lets 4 MiB pass, and so do the stores behind it.
const (
	messageBytes = 2 << 20
	messageItems = 64
)

// get returns items in order, however many there are.
func (j *Journal) get(ctx context.Context, keys []string) ([]Item, error) {
	items := make([]Item, 0, len(keys))
	for len(keys) > 0 {
		n := min(len(keys), messageItems)
		part, err := j.store.Get(ctx, keys[:n])
		for errors.Is(err, ErrTooBig) && n > 1 {
			n = (n + 1) / 2
			part, err = j.store.Get(ctx, keys[:n])
		}
		if err != nil {
			return nil, fmt.Errorf("read from the state store: %w", err)
		}
		if len(part) != n {
			return nil, fmt.Errorf("read from the state store: %d items came for %d keys", len(part), n)
		}
		items, keys = append(items, part...), keys[n:]
	}
	return items, nil
}

func (j *Journal) getOne(ctx context.Context, key string) (Item, error) {
	items, err := j.get(ctx, []string{key})
	if err != nil {
		return Item{}, err
	}
	return items[0], nil
}

// put writes items whose keys nobody compares. It is safe to repeat: whoever writes such a key writes the same value.
func (j *Journal) put(ctx context.Context, items []Item) error {
	for len(items) > 0 {
		n, size := 0, 0
		for n < len(items) && n < messageItems && (n == 0 || size+len(items[n].Value) <= messageBytes) {
			size += len(items[n].Value)
			n++
		}
		if err := j.putSome(ctx, items[:n]); err != nil {
			return fmt.Errorf("write to the state store: %w", err)
		}
		items = items[n:]
	}
	return nil
}

func (j *Journal) putSome(ctx context.Context, items []Item) error {
	for try := 0; ; try++ {
		err := j.store.Put(ctx, items)
		if err == nil || try == saveTries || !pause(ctx, try+2) {
			return err
		}
	}
}

// discard removes what nobody refers to any more. What is left behind costs room and nothing else.
func (j *Journal) discard(keys []string) {
	if len(keys) == 0 {
		return
	}
	j.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), j.config.Timeout)
		defer cancel()
		if err := j.store.Delete(ctx, keys); err != nil {
			j.config.Log.Debug("records that nobody needs any more stay in the state store", "keys", len(keys), "error", err)
		}
	})
}
