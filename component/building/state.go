package building

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/dapr/components-contrib/state"
	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
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

// Features lists what an actor state store needs.
func (s *stateStore) Features(ctx context.Context, _ *components.FeaturesRequest) (*components.FeaturesResponse, error) {
	if _, err := s.server.instances.get(ctx, stateType); err != nil {
		return nil, stateStatus(err)
	}
	return &components.FeaturesResponse{Features: []string{string(state.FeatureETag), string(state.FeatureTransactional)}}, nil
}

// MultiMaxSize is MaxTransaction.
func (s *stateStore) MultiMaxSize(ctx context.Context, _ *components.MultiMaxSizeRequest) (*components.MultiMaxSizeResponse, error) {
	if _, err := s.server.instances.get(ctx, stateType); err != nil {
		return nil, stateStatus(err)
	}
	return &components.MultiMaxSizeResponse{MaxSize: MaxTransaction}, nil
}

// Get returns the value of a key, nothing at all if there is none.
func (s *stateStore) Get(ctx context.Context, r *components.GetRequest) (*components.GetResponse, error) {
	resp, err := s.get(ctx, r)
	if err != nil {
		return nil, stateStatus(err)
	}
	return resp, nil
}

func (s *stateStore) get(ctx context.Context, r *components.GetRequest) (*components.GetResponse, error) {
	j, limit, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateKey(r.GetKey()); err != nil {
		return nil, err
	}
	last, err := j.Last(ctx, []actors.Ref{stateRef(r.GetKey())})
	if err != nil {
		return nil, journalError(fmt.Sprintf("get %q", cut(r.GetKey())), err)
	}
	resp := &components.GetResponse{}
	if e := last[0]; exists(e) {
		resp.Data, resp.Etag, resp.ContentType = e.Payload.Data, etagOf(e), e.Payload.ContentType
	}
	return resp, fits(resp, limit, fmt.Sprintf("the value of %q", cut(r.GetKey())), "store it in parts")
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
	j, limit, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	resp := &components.BulkGetResponse{}
	var refs []actors.Ref
	var items []*components.BulkStateItem
	for _, i := range r.GetItems() {
		item := &components.BulkStateItem{Key: i.GetKey()}
		resp.Items = append(resp.Items, item)
		if err := validateKey(i.GetKey()); err != nil {
			item.Error = err.Error()
			continue
		}
		refs, items = append(refs, stateRef(i.GetKey())), append(items, item)
	}
	// Room for an error text in every item comes off first.
	const refusal = "this key does not fit into the answer together with those before it; ask for fewer keys at once"
	size := int64(proto.Size(resp)) + int64(len(items)*(len(refusal)+16))
	for from := 0; from < len(refs); from += bulk {
		to := min(from+bulk, len(refs))
		last, err := j.Last(ctx, refs[from:to])
		if err != nil {
			return nil, journalError(fmt.Sprintf("get %d keys", len(refs)), err)
		}
		for i, e := range last {
			if !exists(e) {
				continue
			}
			item := items[from+i]
			n := int64(len(e.Payload.Data) + len(e.Payload.ContentType) + 64)
			if size+n > limit {
				item.Error = refusal
				continue
			}
			size += n
			item.Data, item.Etag, item.ContentType = e.Payload.Data, etagOf(e), e.Payload.ContentType
		}
	}
	return resp, fits(resp, limit, fmt.Sprintf("an answer about %d keys", len(refs)), "ask for fewer keys at once")
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
	if len(ops) > 0 {
		ops[0].metadata = append(ops[0].metadata, r.GetMetadata())
	}
	if err := s.write(ctx, true, ops...); err != nil {
		return nil, stateStatus(err)
	}
	return &components.TransactionalStateResponse{}, nil
}

// request is a set or a delete as it came in.
type request struct {
	op
	etag     *components.Etag
	options  *components.StateOptions
	metadata []map[string]string
}

func set(r *components.SetRequest) request {
	contentType := r.GetContentType()
	if contentType == "" { // the sidecar keeps it in the metadata
		contentType = lookup(r.GetMetadata(), "contentType")
	}
	return request{
		op:   op{key: r.GetKey(), data: r.GetValue(), contentType: contentType},
		etag: r.GetEtag(), options: r.GetOptions(), metadata: []map[string]string{r.GetMetadata()},
	}
}

func deletion(r *components.DeleteRequest) request {
	return request{
		op:   op{key: r.GetKey(), delete: true},
		etag: r.GetEtag(), options: r.GetOptions(), metadata: []map[string]string{r.GetMetadata()},
	}
}

// write validates the requests, all of them before any is carried out, and carries them out.
func (s *stateStore) write(ctx context.Context, whole bool, requests ...request) error {
	j, limit, err := s.open(ctx)
	if err != nil {
		return err
	}
	ops := make([]op, len(requests))
	for i := range requests {
		if err := requests[i].validate(limit); err != nil {
			return err
		}
		ops[i] = requests[i].op
	}
	return (&writing{journal: j, whole: whole, writes: group(ops)}).run(ctx)
}

func (r *request) validate(limit int64) error {
	if err := validateKey(r.key); err != nil {
		return err
	}
	for _, m := range r.metadata {
		if ttl := lookup(m, "ttlInSeconds"); ttl != "" && ttl != "-1" {
			return actors.Errorf(actors.InvalidArgument,
				"%q has the metadata ttlInSeconds, and this store has no expiry; leave it out and delete the key in time", cut(r.key))
		}
	}
	if n := int64(len(r.data) + len(r.contentType) + overhead); n > limit {
		return actors.Errorf(actors.ResourceExhausted, "the value of %q has %d bytes, and the sidecar could not read back more than %d; store it in parts",
			cut(r.key), len(r.data), limit-overhead)
	}
	switch text := r.etag.GetValue(); {
	case text != "":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
			return &etagError{codes.InvalidArgument, fmt.Sprintf("the ETag %q of %q is none of this store's, which are whole numbers from 1", cut(text), cut(r.key))}
		}
		r.expects = n
	case r.options.GetConcurrency() == components.StateOptions_CONCURRENCY_FIRST_WRITE && !r.delete:
		r.fresh = true
	}
	return nil
}

// open finds the journal for a request, and the limit for its answer.
func (s *stateStore) open(ctx context.Context) (Journal, int64, error) {
	i, err := s.server.instances.get(ctx, stateType)
	if err != nil {
		return nil, 0, err
	}
	r := s.server.runtime.Load()
	if r == nil || r.Journal == nil {
		return nil, 0, actors.Errorf(actors.Unavailable, "the journal is not open yet; try again")
	}
	return r.Journal, min(i.config.MaxReply, maxResponse), nil
}

func stateRef(key string) actors.Ref { return actors.Ref{Service: StateService, ID: key} }

// validateKey: gRPC lets only UTF-8 through, and Postgres everything of it but NUL.
func validateKey(key string) error {
	switch {
	case key == "":
		return actors.Errorf(actors.InvalidArgument, "the key is empty")
	case len(key) > MaxKeyBytes:
		return actors.Errorf(actors.InvalidArgument, "the key %q has %d bytes; at most %d are allowed, with what the sidecar puts before it", cut(key), len(key), MaxKeyBytes)
	case strings.ContainsRune(key, 0):
		return actors.Errorf(actors.InvalidArgument, "the key %q contains a NUL", cut(key))
	}
	return nil
}

func exists(e journal.Event) bool { return e.Sequence > 0 && e.Name != eventDeleted }

func etagOf(e journal.Event) *components.Etag {
	return &components.Etag{Value: strconv.FormatInt(e.Sequence, 10)}
}

// lookup finds a metadata item without regard to case.
func lookup(m map[string]string, key string) string {
	if v, ok := m[key]; ok {
		return v
	}
	for k, v := range m {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}

// cut bounds what an error quotes.
func cut(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
