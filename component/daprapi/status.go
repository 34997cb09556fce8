package daprapi

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
)

// serviceText is what daprd puts before the text of an actor host.
const serviceText = "error from actor service: "

// appStatus is what it puts between, if that host is reached over the app channel: the status with which that refuses.
const appStatus = "(500) "

// maxText bounds how much of a text of others is repeated, in bytes.
const maxText = 300

// Texts of daprd that mean: the entity has no host at the moment, or lost it during the call. daprd sends them with
// various codes.
var moved = []string{
	"did not find address",
	"no address",
	"placement is disseminating",
	"placement service is not configured",
	"failed to lookup actor",
	"remote actor moved",
	"actor is closed",
	"actor runtime is closed",
	"not registered",
	"actor host is not connected",
	"actor host disconnected",
	"context canceled",
	"failed to invoke target",
}

// invokeError turns the error of an invocation into ours. A failure of our own hosts names its code in its tail; all
// others are daprd's, whose codes say little.
func invokeError(ctx context.Context, command actors.Command, err error) error {
	s := status.Convert(err)
	text := s.Message()
	if e, _, ok := actors.ParseFailureText(text); ok {
		if _, own, found := strings.Cut(e.Message, serviceText); found {
			e.Message = strings.TrimPrefix(own, appStatus)
		}
		return e
	}
	failed := func(code actors.Code, why string) error {
		e := actors.Errorf(code, "invoke %s of %s: %s", command.Method, command.Ref, why)
		e.Cause = err
		return e
	}
	switch {
	case errors.Is(context.Cause(ctx), errLeaving):
		return failed(actors.Unavailable, errLeaving.Error()+"; repeat the command")
	case s.Code() == codes.DeadlineExceeded || ctx.Err() == context.DeadlineExceeded,
		strings.Contains(text, "context deadline exceeded"):
		return failed(actors.DeadlineExceeded, "no answer in time; it is not known whether the command was carried out")
	case s.Code() == codes.Canceled || ctx.Err() != nil:
		return failed(actors.Canceled, "the caller went away")
	case s.Code() == codes.ResourceExhausted:
		return failed(actors.ResourceExhausted, short(text)+" (daprd's --max-body-size, or the largest reply)")
	case s.Code() == codes.InvalidArgument:
		return failed(actors.InvalidArgument, short(text))
	case s.Code() == codes.Unauthenticated || s.Code() == codes.PermissionDenied:
		return failed(actors.Unavailable, "the sidecar refuses us; give the component its API token in DAPR_API_TOKEN")
	}
	for _, m := range moved {
		if strings.Contains(text, m) {
			return failed(actors.Unavailable, "no host has the entity right now ("+short(text)+
				"); repeat the command, and if this stays, check that a host of its actor type runs and is connected to placement")
		}
	}
	if s.Code() == codes.Unavailable {
		return failed(actors.Unavailable, "the sidecar cannot be reached ("+short(text)+"); repeat the command")
	}
	return failed(actors.Internal, short(text))
}

func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
