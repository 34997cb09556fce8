package userfunction

import (
	"log/slog"
	"math"
	"sync"

	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// service is one service of the user function, of whatever kind.
type service struct {
	*catalog.Service
	client *Client
	conn   *grpc.ClientConn
	log    *slog.Logger

	// Extensions that both sides know.
	codes, metadata, sequence, idempotency, events, pipeline, targets, delayed bool

	// warned holds the methods whose replies have been complained about.
	warned sync.Map
}

func newService(c *Client, conn *grpc.ClientConn, s *catalog.Service) *service {
	return &service{
		Service:     s,
		client:      c,
		conn:        conn,
		log:         c.log.With(keyService, s.Name),
		codes:       s.Extensions["codes"],
		metadata:    s.Extensions["metadata"],
		sequence:    s.Extensions["sequence"],
		idempotency: s.Extensions["idempotency"],
		events:      s.Extensions["events"],
		pipeline:    s.Extensions["pipeline"],
		targets:     s.Extensions["targets"],
		delayed:     s.Extensions["delayed"],
	}
}

// reply is what a handler answered with.
func (s *service) reply(in *cloudstate.Reply, method string, o *actors.Outcome) {
	if in.GetPayload() != nil {
		p := fromAny(in.GetPayload())
		o.Reply = &p
		s.checkOutput(method, p.TypeURL)
	}
	o.Metadata = fromMetadata(in.GetMetadata())
}

// failure is the "no" of a handler.
func (s *service) failure(in *cloudstate.Failure) *actors.Error {
	e := &actors.Error{Code: actors.Unknown, Message: in.GetDescription()}
	if code := in.GetCode(); s.codes && code > 0 && code <= math.MaxUint8 && actors.Code(code).Known() {
		e.Code = actors.Code(code)
	}
	if e.Message == "" {
		e.Message = "the user function failed without saying why"
	}
	return e
}

// checkOutput complains, once for each method, of a reply of another type than the method declares. It is delivered all
// the same.
func (s *service) checkOutput(method, got string) {
	m, err := s.Method(method)
	if err != nil || m.Output == "" || m.Output == got {
		return
	}
	if _, again := s.warned.LoadOrStore(method, true); again {
		return
	}
	text := "Warning: " + m.String() + " replied with the type " + quote(got) + ", but declares " + quote(m.Output)
	s.log.Warn("a reply has another type than the method declares", keyMethod, method, keyDetail, text)
	s.client.Report(text)
}
