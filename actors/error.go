package actors

import (
	"context"
	"errors"
	"fmt"
)

// Code is a gRPC status code, by its number.
type Code uint8

// The codes in use. Their numbers are those of google.rpc.Code.
const (
	OK                 Code = 0
	Canceled           Code = 1
	Unknown            Code = 2
	InvalidArgument    Code = 3
	DeadlineExceeded   Code = 4
	NotFound           Code = 5
	AlreadyExists      Code = 6
	PermissionDenied   Code = 7
	ResourceExhausted  Code = 8
	FailedPrecondition Code = 9
	Aborted            Code = 10
	OutOfRange         Code = 11
	Unimplemented      Code = 12
	Internal           Code = 13
	Unavailable        Code = 14
	DataLoss           Code = 15
	Unauthenticated    Code = 16
)

var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// Known reports whether c is one of the codes above.
func (c Code) Known() bool { return int(c) < len(codeNames) }

// String is the name that gRPC's documentation uses, such as INVALID_ARGUMENT.
func (c Code) String() string {
	if c.Known() {
		return codeNames[c]
	}
	return fmt.Sprintf("CODE_%d", uint8(c))
}

// Lasting reports whether a failure with this code stays one however often the same command is repeated, as long as nobody
// repairs something.
func (c Code) Lasting() bool {
	switch c {
	case InvalidArgument, NotFound, AlreadyExists, PermissionDenied, FailedPrecondition, OutOfRange, Unimplemented, Unauthenticated:
		return true
	default:
		return false
	}
}

// ParseCode is the inverse of String for the known codes.
func ParseCode(name string) (Code, bool) {
	for i, n := range codeNames {
		if n == name {
			return Code(i), true
		}
	}
	return Unknown, false
}

// Error is a failure with its code. The layer that knows what went wrong gives the code, once; the edges translate it.
// Message is for the caller: it says what was being done, to what, and what to do next, and holds no secret and no
// payload. Cause is for the log only.
type Error struct {
	Code    Code
	Message string
	Cause   error
}

// Errorf makes an Error. A %w verb keeps the wrapped error as Cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code of the first *Error in err's chain. Without one it is DeadlineExceeded or Canceled for the
// errors of a context, OK for nil, else Internal.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return Canceled
	default:
		return Internal
	}
}
