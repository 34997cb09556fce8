package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// rest serves what is below /entities/: every service, by its full name or its actor type.
func (g *Gateway) rest(w http.ResponseWriter, r *http.Request, routes *routes, path requestPath) error {
	if routes == nil {
		return errNoRoutes
	}
	parts := path.decoded[1:]
	s, ok := routes.catalog.Service(parts[0])
	if !ok {
		return refuse(404, actors.Unimplemented, "there is no service %q; GET %s lists those that are", cut(parts[0]), openAPIPath)
	}
	switch n := len(parts); {
	case s.Kind == actors.Action && n == 2:
		return g.invoke(w, r, routes, s, "", parts[1])
	case s.Kind == actors.Action:
		return refuse(404, actors.Unimplemented, "the service %s is an action, which has no entities: call POST %s%s/<command>", s.Name, entitiesPath, s.Name)
	case n == 3:
		return g.invoke(w, r, routes, s, parts[1], parts[2])
	case n == 4 && parts[2] == outcomesPathElement && s.Kind.Placed():
		return g.outcome(w, r, s, parts[1], parts[3])
	default:
		return refuse(404, actors.Unimplemented, "the service %s has entities: call POST %s%s/<id>/<command>, with the id's own slashes as %%2F", s.Name, entitiesPath, s.Name)
	}
}

func (g *Gateway) invoke(w http.ResponseWriter, r *http.Request, routes *routes, s *catalog.Service, id, command string) error {
	m, ok := routes.methods["/"+s.Name+"/"+command]
	if !ok {
		_, err := s.Method(command)
		return err
	}
	if r.Method != http.MethodPost {
		return notAllowed(r, []string{"POST"})
	}
	if m.addressed() {
		if err := actors.ValidateID(id); err != nil {
			return err
		}
	}
	g.exchange(w, r, m, actors.Command{Ref: actors.Ref{ID: id}}, nil, func(kind mediaKind, doc []byte) (actors.Payload, error) {
		contentType := actors.ContentJSON
		if kind == protobufMedia {
			contentType = actors.ContentProtobuf
		}
		return m.Decode(id, contentType, doc)
	}, mediaOf)
	return nil
}

// outcomeJSON is what is known of a command that is over.
type outcomeJSON struct {
	Sequence int64           `json:"sequence"`
	Reply    json.RawMessage `json:"reply,omitempty"`
	Failure  *failureJSON    `json:"failure,omitempty"`
	Forward  *forwardJSON    `json:"forward,omitempty"`
}

type failureJSON struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type forwardJSON struct {
	Service string `json:"service"`
	ID      string `json:"id"`
	Command string `json:"command"`
}

func (g *Gateway) outcome(w http.ResponseWriter, r *http.Request, s *catalog.Service, id, key string) error {
	if g.config.Outcomes == nil {
		return refuse(404, actors.Unimplemented, "this gateway cannot look outcomes up; ask the component that hosts the entity")
	}
	if r.Method != http.MethodGet {
		return notAllowed(r, []string{"GET"})
	}
	if err := actors.ValidateID(id); err != nil {
		return err
	}
	if key == "" || len(key) > maxKey {
		return actors.Errorf(actors.InvalidArgument, "the idempotency key in the path is empty or longer than %d bytes", maxKey)
	}
	ref := actors.Ref{Service: s.Name, ID: id}
	o, found, err := g.config.Outcomes(r.Context(), ref, key)
	switch {
	case err != nil:
		return err
	case !found:
		return refuse(404, actors.NotFound, "no command of %s is known by this key: it was not carried out, or decided nothing", ref)
	}
	answer := outcomeJSON{Sequence: o.Sequence}
	if o.Reply != nil {
		if answer.Reply, err = g.routes.Load().catalog.JSON(*o.Reply); err != nil {
			return err
		}
	}
	if o.Failure != nil {
		answer.Failure = &failureJSON{Code: o.Failure.Code.String(), Message: o.Failure.Message}
	}
	if o.Forward != nil {
		answer.Forward = &forwardJSON{Service: o.Forward.Service, ID: o.Forward.ID, Command: o.Forward.Method}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", actors.ContentJSON)
	h.Set("Cache-Control", "no-store")
	h.Set(sequenceHeader, strconv.FormatInt(o.Sequence, 10))
	_, err = g.writer(w).Write(body)
	_ = err // whoever asked has gone
	return nil
}
