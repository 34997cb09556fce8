package daprstate

import (
	"context"
	"sync"

	"github.com/dapr-entities/entities/actors"
)

// locks keep the goroutines of this process from taking each other's changes of one stream away. They are a courtesy:
// nothing depends on them.
type locks struct {
	mu   sync.Mutex
	held map[actors.Ref]*lock
}

type lock struct {
	turn  chan struct{}
	users int
}

// take waits for a stream's turn, and says whether it had to. The returned function gives it back.
func (l *locks) take(ctx context.Context, ref actors.Ref) (give func(), waited bool, err error) {
	l.mu.Lock()
	k := l.held[ref]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		l.held[ref] = k
	}
	k.users++
	waited = k.users > 1
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, ref)
		}
	}
	select {
	case k.turn <- struct{}{}:
		return func() { <-k.turn; leave() }, waited, nil
	case <-ctx.Done():
		leave()
		return nil, waited, context.Cause(ctx)
	}
}
