package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
)

// failure is a handler's "no", on its way out.
type failure struct{ outcome actors.Outcome }

func (f *failure) Error() string { return f.outcome.Failure.Message }
func (f *failure) Unwrap() error { return f.outcome.Failure }

// refusal is an answer of the gateway's own whose HTTP status is finer than its code.
type refusal struct {
	err    *actors.Error
	status int
	allow  []string
}

func (r *refusal) Error() string { return r.err.Message }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status int, code actors.Code, format string, args ...any) error {
	return &refusal{err: actors.Errorf(code, format, args...), status: status}
}

// public is what a caller may know of an error: the texts of *actors.Error are made for callers, others are for the log.
func public(err error) *actors.Error {
	var e *actors.Error
	switch {
	case errors.As(err, &e) && e.Code == actors.OK:
		return &actors.Error{Code: actors.Internal, Message: e.Message, Cause: e.Cause}
	case errors.As(err, &e):
		return e
	}
	if s, ok := status.FromError(err); ok { // what grpc-go says about a message or a stream
		return &actors.Error{Code: actors.Code(s.Code()), Message: s.Message()}
	}
	switch code := actors.CodeOf(err); code {
	case actors.DeadlineExceeded:
		return &actors.Error{Code: code, Message: "the deadline passed before there was an answer", Cause: err}
	case actors.Canceled:
		return &actors.Error{Code: code, Message: "the caller went away", Cause: err}
	default:
		return &actors.Error{Code: actors.Internal, Message: "the call failed inside the gateway; its log says why", Cause: err}
	}
}

// grpcError is the status that a gRPC caller gets.
func grpcError(err error) error {
	if err == nil {
		return nil
	}
	e := public(err)
	return status.Error(codes.Code(e.Code), strings.ToValidUTF8(e.Message, "\uFFFD"))
}

var statuses = map[actors.Code]int{
	actors.Canceled: 499, actors.Unknown: 500, actors.InvalidArgument: 400, actors.DeadlineExceeded: 504,
	actors.NotFound: 404, actors.AlreadyExists: 409, actors.PermissionDenied: 403, actors.ResourceExhausted: 429,
	actors.FailedPrecondition: 400, actors.Aborted: 409, actors.OutOfRange: 400, actors.Unimplemented: 501,
	actors.Internal: 500, actors.Unavailable: 503, actors.DataLoss: 500, actors.Unauthenticated: 401,
}

// httpStatus is the status that an HTTP caller gets.
func httpStatus(err error) int {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status
	}
	_, decided := errors.AsType[*failure](err)
	code := public(err).Code
	if code == actors.Unimplemented && !decided { // there is no such thing, which is another matter for a handler
		return 404
	}
	if s, ok := statuses[code]; ok {
		return s
	}
	return 500
}

// problem is RFC 9457's, with the code.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

func problemOf(err error) problem {
	e, status := public(err), httpStatus(err)
	title := http.StatusText(status)
	if title == "" {
		title = "Client Closed Request"
	}
	return problem{Type: "about:blank", Title: title, Status: status, Detail: e.Message, Code: e.Code.String()}
}

// json is for people too, who read < better than its escape.
func (p problem) json() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(p) // it is made of texts
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// writeError answers an HTTP request. A failure without a code is a text as it is, as in Cloudstate, whether a handler
// said it or the component had to say it for one that broke the protocol; everything else says its code.
func writeError(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff") // the texts may hold anything
	if f, ok := errors.AsType[*failure](err); ok {
		replyHeaders(h, f.outcome, true)
	}
	if e := public(err); e.Code == actors.Unknown {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(e.Message)) // whoever asked may have gone
		return
	}
	if r, ok := errors.AsType[*refusal](err); ok && len(r.allow) > 0 {
		h.Set("Allow", strings.Join(r.allow, ", "))
	}
	p := problemOf(err)
	body := p.json()
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // as above
}
