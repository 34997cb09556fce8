package building

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/actors"
)

// The metadata of requests that say something to this store.
const (
	contentTypeKey = "contentType"
	ttlKey         = "ttlInSeconds"
	traceKey       = "traceparent"
)

// MaxContentTypeBytes is the longest content type of a state value.
const MaxContentTypeBytes = 256

// request is a set or a delete as it came in.
type request struct {
	op
	etag    *components.Etag
	options *components.StateOptions
	// metadata of the request, then that of the transaction that it is in: the first that says something holds.
	metadata []map[string]string
}

func set(r *components.SetRequest) request {
	contentType := r.GetContentType()
	if contentType == "" { // the sidecar keeps it in the metadata
		contentType = lookup(r.GetMetadata(), contentTypeKey)
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

func (r *request) lookup(key string) string {
	for _, m := range r.metadata {
		if v := lookup(m, key); v != "" {
			return v
		}
	}
	return ""
}

// validate completes the op. Expiry is counted from now.
func (r *request) validate(limit int64, now time.Time) error {
	if err := validateKey(r.key); err != nil {
		return err
	}
	if len(r.contentType) > MaxContentTypeBytes || strings.ContainsRune(r.contentType, 0) {
		return actors.Errorf(actors.InvalidArgument, "the content type %q of %q has %d bytes; at most %d are allowed, and none of them NUL",
			cut(r.contentType), cut(r.key), len(r.contentType), MaxContentTypeBytes)
	}
	if n := int64(len(r.data) + len(r.contentType) + overhead); n > limit {
		return actors.Errorf(actors.ResourceExhausted, "the value of %q has %d bytes, and the sidecar could not read back more than %d; store it in parts",
			cut(r.key), len(r.data), limit-overhead)
	}
	if err := r.validateMetadata(now); err != nil {
		return err
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

// traceparents of another form are ignored, as the standard wants it.
var traceparents = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

func (r *request) validateMetadata(now time.Time) error {
	if text := r.lookup(traceKey); traceparents.MatchString(text) {
		r.context.Traceparent = text
	}
	if r.delete {
		for _, key := range []string{versionKey, asOfKey, historyKey} {
			if r.lookup(key) != "" {
				return actors.Errorf(actors.InvalidArgument,
					"the deletion of %q has the metadata %s, and the past is only read: a deletion adds a version to it; leave it out", cut(r.key), key)
			}
		}
	}
	text := r.lookup(ttlKey)
	if text == "" {
		return nil
	}
	// The range, and that 0 is none, is what Dapr's own stores have.
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < -1 || seconds > math.MaxInt32 {
		return actors.Errorf(actors.InvalidArgument,
			"the metadata %s of %q is %q, want a number of seconds up to %d, or -1 for none", ttlKey, cut(r.key), cut(text), math.MaxInt32)
	}
	if seconds > 0 && !r.delete {
		r.expires = now.Add(time.Duration(seconds) * time.Second)
	}
	return nil
}

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
