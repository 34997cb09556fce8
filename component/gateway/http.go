package gateway

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// probeHeader is that of Knative's queue proxy.
const probeHeader = "K-Network-Probe"

// serveHTTP takes every request that is not on a connection of the native gRPC server.
func (g *Gateway) serveHTTP(w http.ResponseWriter, r *http.Request) {
	g.calls.add(1)
	defer g.calls.add(-1)
	contentType := r.Header.Get("Content-Type")
	switch {
	case isGRPC(contentType) && r.ProtoMajor == 2:
		if over := g.over.Load(); over != nil {
			over.ServeHTTP(w, r)
		}
		return
	case isGRPC(contentType):
		writeError(w, refuse(http.StatusHTTPVersionNotSupported, actors.Unimplemented, "gRPC needs HTTP/2; over HTTP/1.1 there is gRPC-Web"))
		return
	case g.cors(w, r):
		return
	}
	if text, ok := isWeb(contentType); ok && r.Method == http.MethodPost {
		g.serveWeb(w, r, text)
		return
	}
	if err := g.route(w, r); err != nil {
		writeError(w, err)
	}
}

// route finds what a request is for. The error is about requests that are for nothing.
func (g *Gateway) route(w http.ResponseWriter, r *http.Request) error {
	routes := g.routes.Load()
	path, ok := splitPath(r.URL.EscapedPath())
	if !ok {
		return refuse(400, actors.InvalidArgument, "the path is malformed: it begins with / and has two hexadecimal digits after each percent sign")
	}
	var allowed []string
	if routes != nil {
		var b *binding
		if b, allowed = routes.find(r.Method, path); b != nil {
			g.transcode(w, r, b, path)
			return nil
		}
	}
	switch value := r.Header.Get(probeHeader); {
	case len(allowed) > 0:
		return notAllowed(r, allowed)
	case value == "queue":
		_, _ = w.Write([]byte(value)) // the prober may have gone
		return nil
	case value != "":
		return refuse(400, actors.InvalidArgument, "the probe %q is not known; there is queue", cut(value))
	case strings.HasPrefix(r.URL.Path, entitiesPath):
		return g.rest(w, r, routes, path)
	case r.URL.Path == openAPIPath && r.Method != http.MethodGet:
		return notAllowed(r, []string{"GET"})
	case r.URL.Path == openAPIPath && routes != nil:
		w.Header().Set("Content-Type", actors.ContentJSON)
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(routes.openAPI())
		return nil
	case routes == nil:
		return errNoRoutes
	}
	return refuse(404, actors.Unimplemented, "nothing is served at %s %q; GET %s lists what is", r.Method, cut(r.URL.Path), openAPIPath)
}

func notAllowed(r *http.Request, allowed []string) error {
	return &refusal{
		err:    actors.Errorf(actors.Unimplemented, "%q is not served for %s; use %s", cut(r.URL.Path), cut(r.Method), strings.Join(allowed, " or ")),
		status: http.StatusMethodNotAllowed, allow: allowed,
	}
}

// The headers that a browser's script may read of an answer.
const exposed = "grpc-status, grpc-message, " + sequenceHeader + ", " + repeatedHeader

// cors answers a browser that asks whether it may ask, and lets it read other answers. Origins that are not configured
// get no such headers, on which the browser refuses.
func (g *Gateway) cors(w http.ResponseWriter, r *http.Request) (done bool) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	wanted := r.Header.Get("Access-Control-Request-Method")
	preflight := r.Method == http.MethodOptions && wanted != ""
	allowed := false
	for _, o := range g.config.Origins {
		allowed = allowed || o == "*" || o == origin
	}
	switch {
	case preflight && !allowed:
		writeError(w, refuse(403, actors.PermissionDenied, "browsers may not call from the origin %q; it is not among the origins that are configured", cut(origin)))
	case preflight:
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Methods", wanted)
		if headers := r.Header.Get("Access-Control-Request-Headers"); headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	case allowed:
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", exposed)
	}
	return preflight
}

// chunk is how much a caller has to take within the BodyTimeout.
const chunk = 64 << 10

// writer writes to callers, and gives up on those that do not take it.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	patient time.Duration
}

func (g *Gateway) writer(w http.ResponseWriter) *writer {
	return &writer{ResponseWriter: w, control: http.NewResponseController(w), patient: g.config.BodyTimeout}
}

func (w *writer) Write(b []byte) (int, error) {
	written := 0
	for {
		// A recorder in a test has no deadlines, and needs none.
		_ = w.control.SetWriteDeadline(time.Now().Add(w.patient))
		part := b[written:min(len(b), written+chunk)]
		n, err := w.ResponseWriter.Write(part)
		if written += n; err != nil || written == len(b) {
			return written, gone(err)
		}
	}
}

// flush sends what has been written, and lets the caller wait for more as long as it takes.
func (w *writer) flush() error {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.patient))
	err := w.control.Flush()
	_ = w.control.SetWriteDeadline(time.Time{})
	return gone(err)
}

// gone is an error about a caller that does not take the answer.
func gone(err error) error {
	if err == nil {
		return nil
	}
	return actors.Errorf(actors.Canceled, "the caller did not take the answer: %w", err)
}

// unreadable is an error about a body that could not be read.
func unreadable(err error, most int) error {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return tooLong(most)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &refusal{err: actors.Errorf(actors.DeadlineExceeded, "the body of the request took too long to come"), status: http.StatusRequestTimeout}
	}
	return &refusal{err: actors.Errorf(actors.Canceled, "the body of the request broke off: %w", err), status: 400}
}

func tooLong(most int) error {
	return refuse(http.StatusRequestEntityTooLarge, actors.ResourceExhausted, "a message in the body is longer than the %d bytes that are allowed", most)
}
