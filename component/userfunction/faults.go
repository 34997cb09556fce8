package userfunction

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
)

// texts are what callers of a user function that breaks the protocol get. They are Cloudstate's; the details are logged.
type texts struct{ reply, failure, message, termination string }

// overSize reports whether a gRPC peer, or our side, refused a message for its size.
func overSize(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.ResourceExhausted && strings.HasPrefix(s.Message(), "grpc: received message")
}

// tooLargeToSend reports whether our side refused to send a message for its size.
func tooLargeToSend(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.ResourceExhausted && strings.HasPrefix(s.Message(), "trying to send message larger")
}

// tooLarge is for a message that one side refused for its size.
func (c *Client) tooLarge(err error, of fmt.Stringer) error {
	most := c.config.MaxMessage
	text := fmt.Sprintf("what the user function answers for %s is larger than a message may be (%d bytes)", of, most)
	if said := status.Convert(err).Message(); !strings.HasSuffix(said, fmt.Sprintf("vs. %d)", most)) {
		// gRPC's words for a limit of the other side; its default is 4 MiB, and many keep that.
		text = fmt.Sprintf("what %s has to be given is larger than its user function takes (%s); raise the limit of the user function's gRPC server", of, said)
	}
	return &actors.Error{Code: actors.ResourceExhausted, Message: text, Cause: err}
}

var errNotMet = status.Error(codes.Unavailable, "discovery has not succeeded since the connection was lost")

// unopened is for a stream that there never was.
func (s *session) unopened(err error) error {
	if code := status.Code(err); code == codes.Unavailable || code == codes.Canceled {
		return s.function.client.unreachable(s.ref(), err)
	}
	return s.terminated(err)
}

func (c *Client) unreachable(what fmt.Stringer, err error) error {
	return &actors.Error{
		Code:    actors.Unavailable,
		Message: fmt.Sprintf("the user function at %s cannot be reached for %s; try again when it runs", c.config.Address, what),
		Cause:   err,
	}
}

// cut reports whether err is the end of a connection: some servers reset their streams before they hang up.
func (s *service) cut(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Canceled && s.conn.GetState() != connectivity.Ready
}

// unsent is for a message that could not be written on our side.
func (c *Client) unsent(err error, what string, to fmt.Stringer) error {
	if status.Code(err) == codes.ResourceExhausted {
		return &actors.Error{
			Code: actors.ResourceExhausted,
			Message: fmt.Sprintf("%s %s is larger than a message to the user function may be (%d bytes)",
				what, to, c.config.MaxMessage),
			Cause: err,
		}
	}
	return &actors.Error{Code: actors.Internal, Message: fmt.Sprintf("%s %s cannot be sent to the user function", what, to), Cause: err}
}

// overdue is for a context that ended by cause.
func overdue(cause error, what string, on fmt.Stringer) *actors.Error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return &actors.Error{Code: actors.DeadlineExceeded, Message: fmt.Sprintf("%s %s: the deadline has passed", what, on), Cause: cause}
	}
	return &actors.Error{Code: actors.Canceled, Message: fmt.Sprintf("%s %s: the caller has gone", what, on), Cause: cause}
}
