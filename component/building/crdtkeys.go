package building

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/component/building/crdtjson"
	"github.com/dapr-entities/entities/crdt"
)

// atOnce is how many replicated keys of one request are read or written side by side.
const atOnce = 16

// kindOf is the kind of a replicated key, 0 for any other key. The sidecar puts something with || behind it before the keys
// of the state API, unless told otherwise; those of actors and workflows have more of that, and are never replicated: they
// are written in transactions.
func (i *instance) kindOf(key string) crdt.Kind {
	if len(i.config.CRDT) == 0 || strings.Count(key, "||") > 1 {
		return 0
	}
	if _, own, prefixed := strings.Cut(key, "||"); prefixed {
		key = own
	}
	for _, k := range i.config.CRDT {
		if strings.HasPrefix(key, k.Prefix) {
			return crdtjson.Kind(string(k.Type))
		}
	}
	return 0
}

// replicated is a request that has to do with a replicated key.
type replicated struct {
	*request
	kind crdt.Kind
	// update is nil if the key is to be deleted.
	update *crdt.Update
	level  replica.Level
}

// validate refuses what a replicated key cannot have.
func (r *replicated) validate(limit int64, now time.Time) error {
	refuse := func(what, why string) error {
		return actors.Errorf(actors.InvalidArgument, "%q is replicated (%s) and takes no %s: %s; leave it out", cut(r.key), crdtjson.Name(r.kind), what, why)
	}
	if r.etag.GetValue() != "" {
		return refuse("ETag", "it has none, because writes to it never conflict")
	}
	if r.options.GetConcurrency() == components.StateOptions_CONCURRENCY_FIRST_WRITE {
		return refuse("first-write", "no write to it is the first, because all of them are joined")
	}
	if err := r.request.validate(limit, now); err != nil {
		return err
	}
	if !r.expires.IsZero() {
		return refuse(ttlKey, "it does not expire")
	}
	if r.options.GetConsistency() == components.StateOptions_CONSISTENCY_STRONG {
		r.level = replica.Majority
	}
	if r.delete {
		return nil
	}
	var err error
	if r.update, err = crdtjson.Parse(r.kind, r.data); err != nil {
		return actors.Errorf(actors.InvalidArgument, "set %q: %w", cut(r.key), err)
	}
	return nil
}

// separate takes the writes to replicated keys out of the others.
func (i *instance) separate(requests []request) (plain []*request, others []*replicated) {
	for n := range requests {
		if k := i.kindOf(requests[n].key); k != 0 {
			others = append(others, &replicated{request: &requests[n], kind: k})
		} else {
			plain = append(plain, &requests[n])
		}
	}
	return plain, others
}

// values finds the replicated values.
func (s *stateStore) values() (Values, error) {
	r := s.server.runtime.Load()
	if r == nil || r.Values == nil {
		return nil, actors.Errorf(actors.Unavailable, "the replicated keys are not open yet; try again")
	}
	return r.Values, nil
}

// apply carries out writes to replicated keys: those of one key in their order, those of different keys side by side. It
// returns the first one's error that there is; the others are done all the same.
func (s *stateStore) apply(ctx context.Context, writes []*replicated) error {
	if len(writes) == 0 {
		return nil
	}
	values, err := s.values()
	if err != nil {
		return err
	}
	errs := make([]error, len(writes))
	of := map[string][]int{}
	var keys []string
	for i, w := range writes {
		if of[w.key] == nil {
			keys = append(keys, w.key)
		}
		of[w.key] = append(of[w.key], i)
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, key := range keys {
		g.Go(func() error {
			for _, i := range of[key] {
				errs[i] = writes[i].apply(ctx, values)
			}
			return nil
		})
	}
	_ = g.Wait() // there is an error in errs for each
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

func (r *replicated) apply(ctx context.Context, values Values) error {
	ref := stateRef(r.key)
	if r.update == nil {
		return values.Delete(ctx, ref, r.level)
	}
	err := values.Update(ctx, ref, r.update, r.level)
	if errors.Is(err, crdt.ErrKindMismatch) {
		return actors.Errorf(actors.InvalidArgument,
			"set %q: %w; what is there was written as another type: delete it first, or write it as what it is", cut(r.key), err)
	}
	return err
}

// getReplicated returns the value of a replicated key, as far as this node knows.
func (s *stateStore) getReplicated(ctx context.Context, kind crdt.Kind, key string, metadata map[string]string) (*components.GetResponse, error) {
	for _, asked := range []string{versionKey, asOfKey, historyKey} {
		if v := lookup(metadata, asked); v != "" && (asked != historyKey || v != "false") {
			return nil, actors.Errorf(actors.InvalidArgument, "%q is replicated (%s) and has no past: it keeps no versions; leave the metadata %s out",
				cut(key), crdtjson.Name(kind), asked)
		}
	}
	values, err := s.values()
	if err != nil {
		return nil, err
	}
	resp := &components.GetResponse{}
	value, err := values.Get(ctx, stateRef(key))
	switch {
	case err != nil || value == nil:
		return resp, err
	case value.Kind != kind:
		return nil, actors.Errorf(actors.FailedPrecondition, "%q was written as a %s, and by the settings it is a %s now; set crdt.<prefix> to what it was, or delete it",
			cut(key), crdtjson.Name(value.Kind), crdtjson.Name(kind))
	}
	resp.Data, resp.ContentType = crdtjson.Render(value), "application/json"
	return resp, nil
}

// bulkGetReplicated asks for many keys side by side. An error is in its key's place.
func (s *stateStore) bulkGetReplicated(ctx context.Context, component *instance, items []*components.GetRequest) ([]*components.GetResponse, []error) {
	responses, errs := make([]*components.GetResponse, len(items)), make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, item := range items {
		g.Go(func() error {
			responses[i], errs[i] = s.getReplicated(ctx, component.kindOf(item.GetKey()), item.GetKey(), item.GetMetadata())
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return responses, errs
}
