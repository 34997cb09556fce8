package actorhost

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// Metadata that means something to the host. The names are compared without regard to case: Dapr's HTTP callers send
// canonical header names.
const (
	headerContentType = "content-type"
	headerKey         = "idempotency-key"
	headerTimeout     = "entities-timeout"
	headerOutcome     = "entities-outcome"
	headerSequence    = "entities-sequence"
	headerRepeated    = "entities-repeated"

	// contentOutcome is the content type of an encoded actors.Outcome.
	contentOutcome = "application/x-entities-outcome"
)

// maxTimeout bounds what a caller may ask for, lest the multiplication overflows.
const maxTimeout = 24 * time.Hour

// Headers that belong to one hop or to Dapr itself, or that hold the sidecar's secret. The user function does not get
// them, and cannot send them.
var transport = map[string]bool{
	"accept": true, "accept-encoding": true, "connection": true, "content-encoding": true, "content-length": true,
	"content-type": true, "dapr-api-call": true, "dapr-api-token": true, "dapr-app-id": true,
	"dapr-reentrancy-id": true, "date": true, "expect": true, "forwarded": true, "host": true, "keep-alive": true,
	"proxy-authenticate": true, "proxy-authorization": true, "proxy-connection": true, "server": true, "te": true,
	"trailer": true, "transfer-encoding": true, "upgrade": true, "user-agent": true, "x-dapr-remote": true,
	"x-daprerrorresponseheader": true, "x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-proto": true,
}

func dropped(key string) bool {
	return key == "" || transport[key] || strings.HasPrefix(key, ":") || strings.HasPrefix(key, "grpc-")
}

// incoming is what the metadata of an invocation says.
type incoming struct {
	contentType string
	key         string
	timeout     string
	outcome     bool
	// dataOnly says that the caller came by Dapr's gRPC API, which gives it an answer's data and drops the metadata.
	dataOnly bool
	metadata actors.Metadata
}

// grpcMark is what daprd's gRPC API calls the entry that its HTTP API, for which every name is a header's, calls
// Dapr-Api-Call.
const grpcMark = "Dapr-API-Call"

// readMetadata sorts out the metadata of an invocation. Keys become lower case, in order.
func readMetadata(m map[string]string) incoming {
	var in incoming
	// Room that costs nothing, for as many as callers usually send.
	names := make([]string, 0, 16)
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := m[name]
		switch key := strings.ToLower(name); {
		case key == headerContentType:
			in.contentType = value
		case key == headerKey:
			in.key = value
		case key == headerTimeout:
			in.timeout = value
		case key == headerOutcome:
			in.outcome = value == "1"
		case dropped(key):
			in.dataOnly = in.dataOnly || name == grpcMark
		default:
			if in.metadata == nil {
				in.metadata = make(actors.Metadata, 0, len(names))
			}
			in.metadata = append(in.metadata, entry(key, value))
		}
	}
	in.contentType = catalog.ContentType(in.contentType)
	return in
}

// entry reads one entry. As in gRPC, a key that ends in -bin has bytes in base64, with or without padding.
func entry(key, value string) actors.Entry {
	if strings.HasSuffix(key, "-bin") {
		if b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "=")); err == nil {
			return actors.Entry{Key: key, Bytes: b}
		}
	}
	return actors.Entry{Key: key, Text: value}
}

// deadline is when the caller stops waiting, zero if it did not say.
func (in incoming) deadline() (time.Time, error) {
	if in.timeout == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(in.timeout, 10, 64)
	if err != nil || ms <= 0 {
		return time.Time{}, actors.Errorf(actors.InvalidArgument,
			"the metadata %s is %q; give the milliseconds that the caller waits", headerTimeout, cut(in.timeout, 32))
	}
	timeout := min(time.Duration(min(ms, maxTimeout.Milliseconds()))*time.Millisecond, maxTimeout)
	return time.Now().Add(timeout), nil
}

// replyMetadata is what HTTP callers get as headers; Dapr gives gRPC callers none of it.
func replyMetadata(o actors.Outcome, contentType string) map[string]string {
	m := make(map[string]string, len(o.Metadata)+3)
	for _, e := range o.Metadata {
		key := strings.ToLower(e.Key)
		if !token(key) || dropped(key) || len(e.Bytes) > 0 {
			continue
		}
		value := printable(e.Text)
		if before, ok := m[key]; ok {
			value = before + ", " + value
		}
		m[key] = value
	}
	if contentType != "" {
		m[headerContentType] = contentType
	}
	m[headerSequence] = strconv.FormatInt(o.Sequence, 10)
	delete(m, headerRepeated)
	if o.Repeated {
		m[headerRepeated] = "true"
	}
	return m
}

// token reports whether key can be the name of a header.
func token(key string) bool {
	for i := range len(key) {
		c := key[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return key != ""
}

// printable makes a header's value: valid UTF-8 without control characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
