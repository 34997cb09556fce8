package building

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/dapr/components-contrib/state"
	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/building/crdtjson"
)

const (
	// MaxKeyBytes is the longest state key, with what the sidecar puts before it: an index page of Postgres has to hold
	// a few of them.
	MaxKeyBytes = 2048
	// MaxTransaction is the number of operations in one transaction.
	MaxTransaction = 1000
	// bulk is the number of keys that the journal is asked for at once.
	bulk = 500
	// overhead is more than a Get response takes besides key and value.
	overhead = 1 << 10
)

// stateStore serves state.entities.
type stateStore struct {
	components.UnimplementedStateStoreServer
	components.UnimplementedTransactionalStateStoreServer
	components.UnimplementedTransactionalStoreMultiMaxSizeServer
	server *Server
}

// Init configures the host.
func (s *stateStore) Init(ctx context.Context, r *components.InitRequest) (*components.InitResponse, error) {
	key := instanceKey{stateType, nameOf(ctx)}
	if err := s.server.instances.init(ctx, key, r.GetMetadata().GetProperties(), true); err != nil {
		return nil, stateStatus(err)
	}
	return &components.InitResponse{}, nil
}

// Ping answers always: it asks for the process.
func (s *stateStore) Ping(context.Context, *components.PingRequest) (*components.PingResponse, error) {
	return &components.PingResponse{}, nil
}

// Features lists what an actor state store needs, and expiry.
func (s *stateStore) Features(ctx context.Context, _ *components.FeaturesRequest) (*components.FeaturesResponse, error) {
	if _, err := s.server.instances.get(ctx, stateType); err != nil {
		return nil, stateStatus(err)
	}
	return &components.FeaturesResponse{Features: []string{
		string(state.FeatureETag), string(state.FeatureTransactional), string(state.FeatureTTL),
	}}, nil
}

// MultiMaxSize is MaxTransaction.
func (s *stateStore) MultiMaxSize(ctx context.Context, _ *components.MultiMaxSizeRequest) (*components.MultiMaxSizeResponse, error) {
	if _, err := s.server.instances.get(ctx, stateType); err != nil {
		return nil, stateStatus(err)
	}
	return &components.MultiMaxSizeResponse{MaxSize: MaxTransaction}, nil
}

// Get returns the value of a key, nothing at all if there is none. By its metadata it returns a value of the past, or the
// list of versions.
func (s *stateStore) Get(ctx context.Context, r *components.GetRequest) (*components.GetResponse, error) {
	resp, err := s.get(ctx, r)
	if err != nil {
		return nil, stateStatus(err)
	}
	return resp, nil
}

func (s *stateStore) get(ctx context.Context, r *components.GetRequest) (*components.GetResponse, error) {
	j, component, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	limit := component.room()
	if err := validateKey(r.GetKey()); err != nil {
		return nil, err
	}
	var resp *components.GetResponse
	if kind := component.kindOf(r.GetKey()); kind != 0 {
		resp, err = s.getReplicated(ctx, kind, r.GetKey(), r.GetMetadata())
	} else {
		resp, err = getKey(ctx, j, r, limit)
	}
	if err != nil {
		return nil, err
	}
	return resp, fits(resp, limit, fmt.Sprintf("the value of %q", cut(r.GetKey())), "store it in parts")
}

func getKey(ctx context.Context, j Journal, r *components.GetRequest, limit int64) (*components.GetResponse, error) {
	q, err := ask(r.GetMetadata(), time.Now())
	if err != nil {
		return nil, err
	}
	if q.past() {
		return q.answer(ctx, j, r.GetKey(), limit)
	}
	last, err := j.Last(ctx, []actors.Ref{stateRef(r.GetKey())})
	if err != nil {
		return nil, journalError(fmt.Sprintf("get %q", cut(r.GetKey())), err)
	}
	resp := &components.GetResponse{}
	if e := last[0]; exists(e, time.Now()) {
		fillValue(resp, e)
	}
	return resp, nil
}

// BulkGet returns an item for every key. One that does not fit into the answer says so in its error, and the others are
// there all the same.
func (s *stateStore) BulkGet(ctx context.Context, r *components.BulkGetRequest) (*components.BulkGetResponse, error) {
	resp, err := s.bulkGet(ctx, r)
	if err != nil {
		return nil, stateStatus(err)
	}
	return resp, nil
}

func (s *stateStore) bulkGet(ctx context.Context, r *components.BulkGetRequest) (*components.BulkGetResponse, error) {
	j, component, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	limit := component.room()
	resp := &components.BulkGetResponse{}
	var refs []actors.Ref
	var items, past, replicated []*components.BulkStateItem
	var questions []question                  // of past
	var replicatedOf []*components.GetRequest // of replicated
	for _, i := range r.GetItems() {
		item := &components.BulkStateItem{Key: i.GetKey()}
		resp.Items = append(resp.Items, item)
		q, err := ask(i.GetMetadata(), time.Now())
		if err = cmp.Or(validateKey(i.GetKey()), err); err != nil {
			item.Error = err.Error()
			continue
		}
		if component.kindOf(i.GetKey()) != 0 {
			replicated, replicatedOf = append(replicated, item), append(replicatedOf, i)
			continue
		}
		if q.past() {
			past, questions = append(past, item), append(questions, q)
			continue
		}
		refs, items = append(refs, stateRef(i.GetKey())), append(items, item)
	}
	// Room for an error text in every item comes off first.
	const refusal = "this key does not fit into the answer together with those before it; ask for fewer keys at once"
	size := int64(proto.Size(resp)) + int64((len(items)+len(past)+len(replicated))*(len(refusal)+16))
	put := func(item *components.BulkStateItem, r *components.GetResponse) {
		if n := int64(proto.Size(r) + 16); size+n <= limit {
			size += n
			item.Data, item.Etag, item.ContentType, item.Metadata = r.Data, r.Etag, r.ContentType, r.Metadata
		} else {
			item.Error = refusal
		}
	}
	for from := 0; from < len(refs); from += bulk {
		to := min(from+bulk, len(refs))
		last, err := j.Last(ctx, refs[from:to])
		if err != nil {
			return nil, journalError(fmt.Sprintf("get %d keys", len(refs)), err)
		}
		for i, e := range last {
			if exists(e, time.Now()) {
				r := &components.GetResponse{}
				fillValue(r, e)
				put(items[from+i], r)
			}
		}
	}
	answered := func(item *components.BulkStateItem, r *components.GetResponse, err error) {
		if err != nil { // the question may be wrong for this key only
			item.Error = err.Error()
			size += int64(len(item.Error))
			return
		}
		put(item, r)
	}
	for i, q := range questions {
		r, err := q.answer(ctx, j, past[i].GetKey(), limit)
		answered(past[i], r, err)
	}
	values, errs := s.bulkGetReplicated(ctx, component, replicatedOf)
	for i, item := range replicated {
		answered(item, values[i], errs[i])
	}
	return resp, fits(resp, limit, fmt.Sprintf("an answer about %d keys", len(resp.GetItems())), "ask for fewer keys at once")
}

// Set sets one key.
func (s *stateStore) Set(ctx context.Context, r *components.SetRequest) (*components.SetResponse, error) {
	if err := s.write(ctx, false, set(r)); err != nil {
		return nil, stateStatus(err)
	}
	return &components.SetResponse{}, nil
}

// Delete deletes one key; that there is none is no error.
func (s *stateStore) Delete(ctx context.Context, r *components.DeleteRequest) (*components.DeleteResponse, error) {
	if err := s.write(ctx, false, deletion(r)); err != nil {
		return nil, stateStatus(err)
	}
	return &components.DeleteResponse{}, nil
}

// BulkSet sets many keys, each for itself. Its error is that of the first key that was not set; the others are set.
func (s *stateStore) BulkSet(ctx context.Context, r *components.BulkSetRequest) (*components.BulkSetResponse, error) {
	var ops []request
	for _, i := range r.GetItems() {
		ops = append(ops, set(i))
	}
	if err := s.write(ctx, false, ops...); err != nil {
		return nil, stateStatus(err)
	}
	return &components.BulkSetResponse{}, nil
}

// BulkDelete deletes many keys as BulkSet sets them.
func (s *stateStore) BulkDelete(ctx context.Context, r *components.BulkDeleteRequest) (*components.BulkDeleteResponse, error) {
	var ops []request
	for _, i := range r.GetItems() {
		ops = append(ops, deletion(i))
	}
	if err := s.write(ctx, false, ops...); err != nil {
		return nil, stateStatus(err)
	}
	return &components.BulkDeleteResponse{}, nil
}

// Transact does all of the operations, in order, or none.
func (s *stateStore) Transact(ctx context.Context, r *components.TransactionalStateRequest) (*components.TransactionalStateResponse, error) {
	if n := len(r.GetOperations()); n > MaxTransaction {
		return nil, stateStatus(actors.Errorf(actors.InvalidArgument, "the transaction has %d operations, at most %d are allowed", n, MaxTransaction))
	}
	var ops []request
	for i, o := range r.GetOperations() {
		switch {
		case o.GetSet() != nil:
			ops = append(ops, set(o.GetSet()))
		case o.GetDelete() != nil:
			ops = append(ops, deletion(o.GetDelete()))
		default:
			return nil, stateStatus(actors.Errorf(actors.InvalidArgument, "operation %d of the transaction neither sets nor deletes", i+1))
		}
	}
	for i := range ops {
		ops[i].metadata = append(ops[i].metadata, r.GetMetadata())
	}
	if err := s.write(ctx, true, ops...); err != nil {
		return nil, stateStatus(err)
	}
	return &components.TransactionalStateResponse{}, nil
}

// write validates the requests, all of them before any is carried out, and carries them out.
func (s *stateStore) write(ctx context.Context, whole bool, requests ...request) error {
	j, component, err := s.open(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	plain, replicated := component.separate(requests)
	if whole && len(replicated) > 0 {
		return actors.Errorf(actors.InvalidArgument,
			"the transaction writes %q, which is replicated (%s): such keys are no part of transactions, so nothing was written; write it by itself",
			cut(replicated[0].key), crdtjson.Name(replicated[0].kind))
	}
	ops := make([]op, len(plain))
	for i, r := range plain {
		if err := r.validate(component.room(), now); err != nil {
			return err
		}
		r.context.Caller = component.config.AppID // the sidecar's; it does not say who called it
		ops[i] = r.op
	}
	for _, r := range replicated {
		if err := r.validate(component.room(), now); err != nil {
			return err
		}
	}
	err = (&writing{journal: j, whole: whole, writes: group(ops)}).run(ctx)
	return cmp.Or(err, s.apply(ctx, replicated))
}

// open finds the journal for a request, and the component that it is for.
func (s *stateStore) open(ctx context.Context) (Journal, *instance, error) {
	i, err := s.server.instances.get(ctx, stateType)
	if err != nil {
		return nil, nil, err
	}
	r := s.server.runtime.Load()
	if r == nil || r.Journal == nil {
		return nil, nil, actors.Errorf(actors.Unavailable, "the journal is not open yet; try again")
	}
	return r.Journal, i, nil
}

// room is what an answer, and therefore a value, may take.
func (i *instance) room() int64 { return min(i.config.MaxReply, maxResponse) }

func stateRef(key string) actors.Ref { return actors.Ref{Service: StateService, ID: key} }

func etagOf(e journal.Event) *components.Etag {
	return &components.Etag{Value: strconv.FormatInt(e.Sequence, 10)}
}
