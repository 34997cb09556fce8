package actorhost

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dapr-entities/entities/actors"
)

// routes of the app channel.
func (c *Channel) routes() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ours := parseActorPath(r.URL.EscapedPath())
		switch {
		case r.URL.Path == "/dapr/config" && r.Method == http.MethodGet:
			c.serve(w, r, c.configuration)
		case r.URL.Path == "/healthz" && r.Method == http.MethodGet:
			c.health(w, r)
		case ours && c.hosts(path.actorType):
			c.serve(w, r, func(w http.ResponseWriter, r *http.Request) { c.actor(w, r, path) })
		case c.app != nil:
			c.app.ServeHTTP(w, r)
		case r.URL.Path == "/dapr/subscribe":
			respond(w, "application/json", []byte("[]"))
		default:
			http.Error(w, "there is no app behind this host of entities; give it one with --upstream", http.StatusNotFound)
		}
	})
}

func (c *Channel) serve(w http.ResponseWriter, r *http.Request, handle http.HandlerFunc) {
	if !c.trusted(r) {
		http.Error(w, "the header dapr-api-token is not the app's token (APP_API_TOKEN)", http.StatusUnauthorized)
		return
	}
	handle(w, r)
}

func (c *Channel) hosts(actorType string) bool {
	_, err := c.config.target(actorType)
	return err == nil
}

// actorPath is what a path of the app channel says about an actor: /actors/<type>/<id>/method/<method>, or without a method.
type actorPath struct {
	actorType, id, method string
	command               bool
}

// parseActorPath takes a path apart as it came, escaped. An id may have slashes: the sidecar writes an escaped one as it is,
// and undoes the escape if anything else in the id wants escaping. No method of ours has one.
func parseActorPath(escaped string) (actorPath, bool) {
	rest, ok := strings.CutPrefix(escaped, "/actors/")
	if !ok {
		return actorPath{}, false
	}
	actorType, rest, _ := strings.Cut(rest, "/")
	actorType, err := url.PathUnescape(actorType)
	p := actorPath{actorType: actorType, id: rest}
	for _, before := range []string{"/method/remind/", "/method/timer/", "/method/"} {
		if at := strings.LastIndex(rest, before); at >= 0 {
			p.id, p.method, p.command = rest[:at], rest[at+len("/method/"):], true
			break
		}
	}
	return p, err == nil && p.id != ""
}

// actor answers what the sidecar wants of an entity.
func (c *Channel) actor(w http.ResponseWriter, r *http.Request, path actorPath) {
	to, err := c.config.target(path.actorType)
	ref := actors.Ref{Service: path.actorType, ID: path.id}
	if err == nil {
		ref, err = to.entity(path.id)
	}
	deletion := r.Method == http.MethodDelete && !path.command
	if err == nil && !deletion && (path.method == "" || r.Method != http.MethodPut) {
		err = actors.Errorf(actors.Unimplemented, "%s of %s at the app channel is nothing that a sidecar asks of an actor", r.Method, ref)
	}
	if err != nil {
		c.refuse(w, ref, 0, err)
		return
	}
	if deletion {
		to.entities.Disown(ref)
		w.WriteHeader(http.StatusOK)
		return
	}
	for _, callback := range []string{"remind", "timer"} {
		if after, is := strings.CutPrefix(path.method, callback+"/"); is {
			c.log.Warn("entities have no reminders and timers of Dapr's; unregister it", keyKind, callback,
				keyService, ref.Service, keyID, ref.ID, keyMethod, after)
			c.refuse(w, ref, 0, actors.Errorf(actors.Unimplemented, "%s %s of %s: entities have no %ss; unregister it", callback, after, ref, callback))
			return
		}
	}
	method, err := url.PathUnescape(path.method)
	if err != nil {
		c.refuse(w, ref, 0, actors.Errorf(actors.InvalidArgument, "the method of a command to %s cannot be read: %s", ref, err))
		return
	}
	c.command(w, r, invocation{target: to, ref: ref, method: method})
}

// entity that a part of a path means. The sidecar writes an actor's id into the path as it is, and what no path can have is
// escaped on the way; the escapes of ids themselves (actors.EscapeID) are those of paths. So one unescaping undoes both.
func (t target) entity(part string) (actors.Ref, error) {
	id, err := url.PathUnescape(part)
	if err != nil {
		return actors.Ref{}, actors.Errorf(actors.InvalidArgument, "the actor id %q cannot be read; write a percent sign as %%25", cut(part, 64))
	}
	return actors.Ref{Service: t.name, ID: id}, actors.ValidateID(id)
}

// command carries out a command.
func (c *Channel) command(w http.ResponseWriter, r *http.Request, v invocation) {
	if err := c.admit(v); err != nil {
		c.refuse(w, v.ref, 0, err)
		return
	}
	defer c.inFlight.Add(-1)
	v.entities.Own(v.ref)
	var err error
	if v.data, err = io.ReadAll(http.MaxBytesReader(w, r.Body, int64(c.channel.MaxRequest))); err != nil {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			err = actors.Errorf(actors.ResourceExhausted, "the payload of %s to %s has more than %d bytes (maxMessage)", v.method, v.ref, large.Limit)
		} else {
			err = actors.Errorf(actors.Canceled, "the sidecar broke off while it sent %s to %s", v.method, v.ref)
		}
		c.refuse(w, v.ref, 0, err)
		return
	}
	v.metadata = make(map[string]string, len(r.Header))
	for name, values := range r.Header {
		v.metadata[name] = strings.Join(values, ", ")
	}
	a := c.config.carryOut(r.Context(), v)
	if a.err != nil {
		c.refuse(w, v.ref, a.sequence, a.err)
		return
	}
	size := len(a.data)
	for name, value := range a.metadata {
		size += len(name) + len(value)
	}
	if size > c.config.MaxReply {
		c.refuse(w, v.ref, a.sequence, oversize(size, c.config.MaxReply))
		return
	}
	contentType := "application/octet-stream"
	for name, value := range a.metadata {
		if name == headerContentType {
			contentType = value
		} else {
			w.Header().Set(name, value)
		}
	}
	respond(w, contentType, a.data)
}

// refuse tells the caller why. The status says no more than that it failed: the sidecar drops the text of others, or tries
// them again.
func (c *Channel) refuse(w http.ResponseWriter, ref actors.Ref, sequence int64, err error) {
	_, text := failure(ref, sequence, err)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = io.WriteString(w, text) // to a sidecar that may be gone
}

func respond(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // to a sidecar that may be gone
}

// configuration says which actor types there are: ours, with our timeouts, and the app's with theirs.
func (c *Channel) configuration(w http.ResponseWriter, r *http.Request) {
	types := c.config.actorTypes()
	all := map[string]json.RawMessage{}
	if c.app != nil {
		all = c.app.configuration(r)
	}
	var theirs []string
	_ = json.Unmarshal(all["entities"], &theirs) // none, if it is no list
	for _, t := range types {
		if slices.Contains(theirs, t) {
			c.log.Error("the app hosts an actor type that entities have, too; it is the entities'", keyTypes, t)
			theirs = slices.DeleteFunc(theirs, func(o string) bool { return o == t })
		}
	}
	var configs []json.RawMessage
	_ = json.Unmarshal(all["entitiesConfig"], &configs) // as above
	own, err := json.Marshal(map[string]any{
		"entities": types, "actorIdleTimeout": c.config.IdleTimeout.String(),
		"drainOngoingCallTimeout": c.config.DrainTimeout.String(), "drainRebalancedActors": true,
	})
	if err == nil {
		all["entitiesConfig"], err = json.Marshal(append(configs, own))
	}
	if err == nil {
		all["entities"], err = json.Marshal(append(theirs, types...))
	}
	body, marshalling := json.Marshal(all)
	if err = errors.Join(err, marshalling); err != nil {
		c.log.Error("say which actor types there are", keyError, err)
		http.Error(w, "the actor types cannot be written", http.StatusInternalServerError)
		return
	}
	respond(w, "application/json", body)
	c.asked(types)
}

// health is ours, and the app's.
func (c *Channel) health(w http.ResponseWriter, r *http.Request) {
	if c.stopping.Load() {
		http.Error(w, "this host of entities is stopping", http.StatusServiceUnavailable)
		return
	}
	if c.app == nil {
		respond(w, "text/plain; charset=utf-8", []byte("ok"))
		return
	}
	c.app.health(w, r)
}
