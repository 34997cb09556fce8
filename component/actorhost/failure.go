package actorhost

import (
	"errors"
	"strings"
	"unicode/utf8"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
)

// maxText is the longest failure text in bytes, without its tail. gRPC callers get it in a header, where many clients
// take 8 KiB in all.
const maxText = 4 << 10

// failed answers a callback with an error. Its text reaches every caller, its code only those who read the tail.
func (n *session) failed(id string, ref actors.Ref, sequence int64, err error) *response {
	code, text := failure(ref, sequence, err)
	if code == actors.NotFound {
		// daprd takes NotFound for an unknown method, and drops the text.
		code = actors.Unknown
	}
	return &response{RequestType: &runtime.SubscribeActorEventsRequestAlpha1_RequestFailed{
		RequestFailed: &runtime.SubscribeActorEventsRequestFailedAlpha1{Id: id, Code: uint32(code), Message: text},
	}}
}

// failure is the code of an error, and the text that goes to the caller.
func failure(ref actors.Ref, sequence int64, err error) (actors.Code, string) {
	var e *actors.Error
	if !errors.As(err, &e) {
		// Whoever made this error did not mean it for callers. It may name anything.
		e = actors.Errorf(actors.CodeOf(err), "the command failed inside the component; its log says more")
	}
	shown := &actors.Error{Code: e.Code, Message: bounded(e.Message)}
	if shown.Code == actors.OK || !shown.Code.Known() {
		shown.Code = actors.Unknown
	}
	return shown.Code, actors.FailureText(shown, actors.Ref{Service: cut(ref.Service, maxText), ID: cut(ref.ID, maxText)}, sequence)
}

// report logs what the caller of a command is not told: here the error's journey ends.
func (c *Config) report(ref actors.Ref, method string, err error) {
	cause := err
	if e, ok := errors.AsType[*actors.Error](err); ok {
		if e.Cause == nil || e.Code != actors.Internal && e.Code != actors.DataLoss {
			return
		}
		cause = e.Cause
	}
	c.Log.Error("a command failed", keyService, ref.Service, keyID, ref.ID, keyMethod, method,
		keyError, err, keyCause, cause)
}

// sized replaces an answer that is too large. The command has been carried out by then, and its caller is told so.
func (n *session) sized(id string, ref actors.Ref, sequence int64, r *response) *response {
	if bound(r.GetInvokeResponse()) <= n.host.config.MaxReply {
		return r
	}
	size := proto.Size(r)
	if size <= n.host.config.MaxReply {
		return r
	}
	return n.failed(id, ref, sequence, oversize(size, n.host.config.MaxReply))
}

func oversize(size, most int) error {
	return actors.Errorf(actors.ResourceExhausted,
		"the command was carried out, but its reply has %d bytes and at most %d are allowed; raise maxReply together "+
			"with daprd's --max-body-size, or reply with less", size, most)
}

// bound is no less than the size of an answer, and cheaper to find: protobuf goes through maps by reflection.
func bound(r *runtime.SubscribeActorEventsRequestInvokeResponseAlpha1) int {
	const field = 1 + 10 // its tag and its length
	size := 4*field + len(r.GetId()) + len(r.GetData())
	for key, value := range r.GetMetadata() {
		size += 3*field + len(key) + len(value)
	}
	return size
}

// bounded makes a text that Dapr can carry.
func bounded(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxText {
		return text
	}
	return cut(text, maxText-len("…")) + "…"
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
