package gateway

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/dapr-entities/entities/actors"
)

// The headers that are ours.
const (
	keyHeader      = "idempotency-key"
	sequenceHeader = "entities-sequence"
	repeatedHeader = "entities-repeated"
)

// maxKey bounds an idempotency key, in bytes.
const maxKey = 256

// hops are headers about the connection or the encoding of a message, and not about what is asked.
var hops = []string{
	"accept-encoding", "connection", "content-encoding", "content-length", "expect", "host", "http2-settings", "keep-alive",
	"proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// reserved reports whether a header, in lower case, stays at this edge.
func reserved(key string) bool {
	if key == "" || key[0] == ':' || strings.HasPrefix(key, "grpc-") {
		return true
	}
	_, found := slices.BinarySearch(hops, key)
	return found
}

// received makes metadata of a request's headers, ordered by key, and takes the idempotency key out. decoded says that the
// values of binary headers (-bin) are bytes already.
func received(h map[string][]string, decoded bool) (actors.Metadata, string, error) {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	md := make(actors.Metadata, 0, len(h))
	idempotency := ""
	for _, k := range keys {
		lower := strings.ToLower(k)
		switch {
		case reserved(lower):
			continue
		case lower == keyHeader:
			key, err := keyOf(h[k])
			if err != nil {
				return nil, "", err
			}
			idempotency = key
			continue
		}
		for _, v := range h[k] {
			if !strings.HasSuffix(lower, "-bin") {
				md = append(md, actors.Entry{Key: lower, Text: v})
				continue
			}
			b := []byte(v)
			if !decoded {
				var err error
				if b, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "=")); err != nil {
					return nil, "", actors.Errorf(actors.InvalidArgument, "the header %s is binary, and its value is not base64", cut(lower))
				}
			}
			md = append(md, actors.Entry{Key: lower, Bytes: b})
		}
	}
	return md, idempotency, nil
}

func keyOf(values []string) (string, error) {
	if len(values) > 1 {
		return "", actors.Errorf(actors.InvalidArgument, "the header %s is there %d times; send one", keyHeader, len(values))
	}
	if len(values) == 0 || values[0] == "" {
		return "", nil
	}
	if len(values[0]) > maxKey {
		return "", actors.Errorf(actors.InvalidArgument, "the header %s has %d bytes; at most %d are allowed", keyHeader, len(values[0]), maxKey)
	}
	return values[0], nil
}

// replied calls add for every header that an outcome becomes: its metadata, and its sequence if it is an entity's. What
// cannot be a header is left out, and what would break the answer too.
func replied(o actors.Outcome, addressed bool, add func(key, value string, binary bool)) {
	for _, e := range o.Metadata {
		key := strings.ToLower(e.Key)
		if reserved(key) || key == "content-type" || !token(key) {
			continue
		}
		switch {
		case e.Bytes != nil:
			if !strings.HasSuffix(key, "-bin") {
				key += "-bin"
			}
			add(key, string(e.Bytes), true)
		case !strings.HasSuffix(key, "-bin") && printable(e.Text):
			add(key, e.Text, false)
		}
	}
	if addressed {
		add(sequenceHeader, strconv.FormatInt(o.Sequence, 10), false)
	}
	if o.Repeated {
		add(repeatedHeader, "true", false)
	}
}

// replyHeaders puts an outcome's headers into an HTTP answer.
func replyHeaders(h http.Header, o actors.Outcome, addressed bool) {
	replied(o, addressed, func(key, value string, binary bool) {
		if binary {
			value = base64.RawStdEncoding.EncodeToString([]byte(value))
		}
		h.Add(key, value)
	})
}

// token reports whether gRPC takes it for a key.
func token(key string) bool {
	for i := range len(key) {
		if c := key[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return key != ""
}

func printable(value string) bool {
	for i := range len(value) {
		if value[i] < 0x20 || value[i] > 0x7e {
			return false
		}
	}
	return true
}
