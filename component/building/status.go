package building

import (
	"errors"
	"net/http"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// etagError is a failed condition on a key. The sidecar knows it by its detail, and by its code whether the ETag is
// out of date or never was one.
type etagError struct {
	code codes.Code // FailedPrecondition or InvalidArgument
	text string
}

func (e *etagError) Error() string { return e.text }

// journalError gives an error of the journal its code.
func journalError(doing string, err error) error {
	var coded *actors.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded):
		return err
	case errors.Is(err, journal.ErrClosed):
		return actors.Errorf(actors.Unavailable, "%s: %w; try again", doing, err)
	case errors.Is(err, journal.ErrFull):
		return actors.Errorf(actors.ResourceExhausted, "%s: %w; make room for it", doing, err)
	case errors.Is(err, journal.ErrForgotten):
		return actors.Errorf(actors.OutOfRange, "%s: %w", doing, err)
	case errors.Is(err, journal.ErrCorrupt):
		return actors.Errorf(actors.DataLoss, "%s: %w", doing, err)
	case actors.CodeOf(err) != actors.Internal: // the request's context
		return actors.Errorf(actors.CodeOf(err), "%s: %w", doing, err)
	default:
		return actors.Errorf(actors.Unavailable, "%s: the journal: %w", doing, err)
	}
}

var httpStatus = map[codes.Code]int{
	codes.Canceled:           499,
	codes.InvalidArgument:    http.StatusBadRequest,
	codes.DeadlineExceeded:   http.StatusGatewayTimeout,
	codes.NotFound:           http.StatusNotFound,
	codes.AlreadyExists:      http.StatusConflict,
	codes.ResourceExhausted:  http.StatusTooManyRequests,
	codes.FailedPrecondition: http.StatusServiceUnavailable,
	codes.Aborted:            http.StatusConflict,
	codes.OutOfRange:         http.StatusBadRequest,
	codes.Unimplemented:      http.StatusNotImplemented,
	codes.Unavailable:        http.StatusServiceUnavailable,
}

// stateStatus is the answer of the state store to an error. Without a detail of the one sort or the other the sidecar
// makes an Internal of everything.
func stateStatus(err error) error {
	if err == nil {
		return nil
	}
	if tag, ok := errors.AsType[*etagError](err); ok {
		return detailed(tag.code, err.Error(), &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "etag", Description: tag.text}},
		})
	}
	code := codes.Code(actors.CodeOf(err))
	number, ok := httpStatus[code]
	if !ok {
		number = http.StatusInternalServerError
	}
	name := actors.CodeOf(err).String()
	return detailed(code, err.Error(), &errdetails.ErrorInfo{
		Reason: "ENTITIES_" + name, Domain: "entities",
		Metadata: map[string]string{"kit_error": "true", "http_code": strconv.Itoa(number), "tag": "ERR_ENTITIES_" + name},
	})
}

func detailed(code codes.Code, text string, detail protoadapt.MessageV1) error {
	st, err := status.New(code, text).WithDetails(detail)
	if err != nil { // only OK refuses details
		return status.Error(codes.Internal, text)
	}
	return st.Err()
}

// bindingStatus is the answer of the binding to an error. The sidecar hands nothing but the text on; where it is about an
// entity, the tail lets our client find the code in it.
func bindingStatus(err error, ref actors.Ref, sequence int64) error {
	if err == nil {
		return nil
	}
	e := &actors.Error{Code: actors.CodeOf(err), Message: err.Error()}
	if ref.Service == "" {
		return status.Error(codes.Code(e.Code), e.Message)
	}
	return status.Error(codes.Code(e.Code), actors.FailureText(e, ref, sequence))
}

// maxResponse is what the sidecar takes of a component: gRPC's default, which it does not change.
const maxResponse = 4 << 20

// fits refuses an answer that the sidecar would not take, with an error that says more than the sidecar's.
func fits(m proto.Message, limit int64, what, remedy string) error {
	if n := int64(proto.Size(m)); n > limit {
		return actors.Errorf(actors.ResourceExhausted, "%s takes %d bytes, and the sidecar takes no more than %d; %s", what, n, limit, remedy)
	}
	return nil
}
