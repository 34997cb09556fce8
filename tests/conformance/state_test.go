package conformance

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dapr/components-contrib/state"
	suite "github.com/dapr/components-contrib/tests/conformance/state"
	client "github.com/dapr/dapr/pkg/components/state"
)

// stateOperations are those of the suite that the store's features promise. The others (query, delete-with-prefix,
// keyslike) are not in the protocol of pluggable components, or not among the features: of these the suite checks that
// the store does not claim them.
var stateOperations = []string{"transaction", "etag", "first-write", "ttl", "actorStateStore"}

func TestState(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, socket, journal string) {
		// The suite would offer "bad-etag". No store of this kind takes that for out of date, so each may say what it
		// takes: this is an ETag that the key does not have yet.
		config, err := suite.NewTestConfig("entities", stateOperations, map[string]any{"badEtag": "9999999"})
		if err != nil {
			t.Fatal(err)
		}

		store := &joining{pluggable: client.NewGRPCStateStore(log, socket)}
		defer store.Close()

		suite.ConformanceTests(t, map[string]string{"journal": journal, "actorStateStore": "true"}, store, config)
	})
}

// pluggable is what Dapr's client of pluggable state stores can do.
type pluggable interface {
	state.Store
	state.TransactionalStore
	state.TransactionalStoreMultiMaxSize
	Ping() error
	io.Closer
}

// joining gives an error of a bulk request the shape that stores within daprd give it, for the suite wants it: the
// joined errors of the keys. Over the wire goes one error, the first; it names its key. Everything else is as the client
// has it. The suite has one wrong key at most in each bulk request, so nothing is lost that it looks for.
type joining struct{ pluggable }

// Ping is the client's, which lacks the context that the suite looks for.
func (s *joining) Ping(context.Context) error { return s.pluggable.Ping() }

func (s *joining) BulkSet(ctx context.Context, requests []state.SetRequest, options state.BulkStoreOpts) error {
	keys := make([]string, len(requests))
	for i := range requests {
		keys[i] = requests[i].Key
	}

	return joined(s.pluggable.BulkSet(ctx, requests, options), keys)
}

func (s *joining) BulkDelete(ctx context.Context, requests []state.DeleteRequest, options state.BulkStoreOpts) error {
	keys := make([]string, len(requests))
	for i := range requests {
		keys[i] = requests[i].Key
	}

	return joined(s.pluggable.BulkDelete(ctx, requests, options), keys)
}

// joined leaves an error alone that is not about the ETag of one of the keys.
func joined(err error, keys []string) error {
	if mismatch, ok := errors.AsType[*state.ETagError](err); ok {
		for _, key := range keys {
			if strings.Contains(mismatch.Error(), `"`+key+`"`) {
				return errors.Join(state.NewBulkStoreError(key, mismatch))
			}
		}
	}

	return err
}
