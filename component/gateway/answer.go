package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
)

// answer is that to an HTTP request. One message is a body; a stream of them is server-sent events for those who accept
// these, else JSON documents, one a line. It begins with the first reply, so that a call that fails before it has a status
// of its own.
type answer struct {
	w        *writer
	m        *method
	response protoreflect.FieldDescriptor
	// protobuf says that the caller sent protobuf and gets it.
	protobuf, events, lines bool
	began                   bool
	// silence is how long a stream of events may be before a heartbeat.
	silence   time.Duration
	heartbeat *heartbeat
}

func (a *answer) accept(r *http.Request, kind mediaKind) {
	accepted := r.Header.Get("Accept")
	a.protobuf = kind == protobufMedia && !a.m.StreamedOut
	a.events = a.m.StreamedOut && strings.Contains(accepted, "text/event-stream")
	a.lines = a.m.StreamedOut && strings.Contains(accepted, "application/x-ndjson")
}

// reply writes one. Of a stream it goes out at once, and so does the head if there is no reply yet.
func (a *answer) reply(o actors.Outcome) error {
	if o.Reply == nil {
		if !a.began && a.m.Output != protobufPrefix+httpBody { // whose type is the first reply's
			a.begin(o, actors.ContentJSON, false)
			return a.heartbeat.do(a.w.flush)
		}
		return nil
	}
	body, contentType, err := a.render(*o.Reply)
	if err != nil {
		return err
	}
	raw := a.raw(*o.Reply)
	if !a.began {
		a.begin(o, contentType, raw)
	}
	switch {
	case !a.m.StreamedOut || raw:
	case a.events:
		body = event("", body)
	default:
		body = append(slices.Clip(body), '\n')
	}
	return a.heartbeat.do(func() error { return a.write(body) })
}

// begin writes the head.
func (a *answer) begin(o actors.Outcome, contentType string, raw bool) {
	a.began = true
	h := a.w.Header()
	replyHeaders(h, o, a.m.addressed())
	switch {
	case a.m.StreamedOut && raw:
		if contentType = o.Metadata.Get("content-type"); contentType == "" || !printable(contentType) {
			contentType = "application/octet-stream"
		}
	case a.events:
		contentType = "text/event-stream"
		h.Set("Cache-Control", "no-store")
	case a.lines:
		contentType = "application/x-ndjson"
	}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	} else {
		h["Content-Type"] = nil // or net/http guesses
	}
	h.Set("X-Content-Type-Options", "nosniff")
	a.w.WriteHeader(http.StatusOK)
	if a.events && !raw {
		a.heartbeat = startHeartbeat(a.silence, func() error { return a.write([]byte(":\n\n")) })
	}
}

func (a *answer) write(b []byte) error {
	if _, err := a.w.Write(b); err != nil || !a.m.StreamedOut {
		return err
	}
	return a.w.flush()
}

// end finishes an answer that had no error: a stream may have been empty.
func (a *answer) end() error {
	if !a.began {
		a.began = true
		switch {
		case a.events:
			a.w.Header().Set("Content-Type", "text/event-stream")
		case a.lines:
			a.w.Header().Set("Content-Type", "application/x-ndjson")
		default:
			a.w.Header().Set("Content-Type", actors.ContentJSON)
		}
		a.w.WriteHeader(http.StatusOK)
	}
	return nil
}

// fail answers with an error, or ends a stream with one: its status is 200 already, so the error is its last element, and
// what is not server-sent events is broken off besides, for nobody to take it for complete.
func (a *answer) fail(err error) {
	if !a.began {
		writeError(a.w, err)
		return
	}
	text := problemOf(err).json()
	if a.events {
		_ = a.heartbeat.do(func() error { return a.write(event("error", text)) })
		return
	}
	if a.m.StreamedOut && a.m.Output != protobufPrefix+httpBody {
		_, _ = a.w.Write([]byte(`{"error":` + string(text) + "}\n"))
		_ = a.w.flush()
	}
	panic(http.ErrAbortHandler) // net/http's way to break off
}

// event is a server-sent one. Its data have no line breaks if they are ours; JSON of a user function may.
func event(name string, data []byte) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	for line := range bytes.Lines(bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))) {
		b.WriteString("data: ")
		b.Write(bytes.TrimSuffix(line, []byte("\n")))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}

const protobufPrefix = "type.googleapis.com/"

// raw reports whether a reply is a body of its own.
func (a *answer) raw(p actors.Payload) bool {
	return p.TypeURL == protobufPrefix+httpBody && p.ContentType != actors.ContentJSON && !a.protobuf
}

// render is a reply as the caller gets it, with its content type.
func (a *answer) render(p actors.Payload) ([]byte, string, error) {
	switch {
	case p.ContentType == actors.ContentJSON && a.m.StreamedOut:
		var b bytes.Buffer // one line
		if err := json.Compact(&b, p.Data); err != nil {
			return nil, "", a.invalid(p, err)
		}
		return b.Bytes(), actors.ContentJSON, nil
	case a.raw(p):
		msg, err := a.message(p)
		if err != nil {
			return nil, "", err
		}
		fields := msg.Descriptor().Fields()
		contentType := msg.Get(fields.ByName("content_type")).String()
		if !printable(contentType) {
			contentType = ""
		}
		return msg.Get(fields.ByName("data")).Bytes(), contentType, nil
	case a.response != nil && p.ContentType != actors.ContentJSON:
		return a.field(p)
	case a.protobuf:
		return a.m.Encode(p, actors.ContentProtobuf)
	default:
		return a.m.Encode(p, actors.ContentJSON)
	}
}

func (a *answer) invalid(p actors.Payload, err error) error {
	e := actors.Errorf(actors.Internal, "the reply of %s is not a valid %s", a.m.Method, strings.TrimPrefix(p.TypeURL, protobufPrefix))
	e.Cause = err // it quotes the payload and is for the log
	return e
}

// message reads a reply as the output that the method promises.
func (a *answer) message(p actors.Payload) (protoreflect.Message, error) {
	msg := dynamicpb.NewMessage(a.m.Descriptor.Output())
	if p.TypeURL != a.m.Output {
		return nil, actors.Errorf(actors.Internal, "the user function answered %q to %s, which promises %s", cut(p.TypeURL), a.m.Method, a.m.Output)
	}
	if err := (proto.UnmarshalOptions{Resolver: a.m.types}).Unmarshal(p.Data, msg); err != nil {
		return nil, a.invalid(p, err)
	}
	return msg, nil
}

// field renders the response_body: messages as messages are, and scalars, in lists and maps too, as plain JSON.
func (a *answer) field(p actors.Payload) ([]byte, string, error) {
	msg, err := a.message(p)
	if err != nil {
		return nil, "", err
	}
	fd := a.response
	var data []byte
	switch {
	case fd.Message() != nil && !fd.IsList() && !fd.IsMap():
		data, err = a.json(msg.Get(fd).Message(), true)
	case fd.IsList():
		list := msg.Get(fd).List()
		items := make([]json.RawMessage, list.Len())
		for i := 0; i < list.Len() && err == nil; i++ {
			items[i], err = a.element(fd, list.Get(i))
		}
		if err == nil {
			data, err = json.Marshal(items)
		}
	case fd.IsMap():
		entries := make(map[string]json.RawMessage)
		msg.Get(fd).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			entries[k.String()], err = a.element(fd.MapValue(), v)
			return err == nil
		})
		if err == nil {
			data, err = json.Marshal(entries)
		}
	default:
		data, err = a.element(fd, msg.Get(fd))
	}
	if err != nil {
		if _, known := errors.AsType[*actors.Error](err); !known {
			err = a.invalid(p, err)
		}
		return nil, "", err
	}
	return data, actors.ContentJSON, nil
}

func (a *answer) element(fd protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	if fd.Message() != nil {
		return a.json(v.Message(), false)
	}
	return json.Marshal(valueOf(fd, v))
}

// json is a message in JSON. Of messages inside a list Cloudstate wrote the fields that are set.
func (a *answer) json(msg protoreflect.Message, defaults bool) ([]byte, error) {
	data, err := protojson.MarshalOptions{Resolver: a.m.types, EmitDefaultValues: defaults}.Marshal(msg.Interface())
	if err != nil {
		return nil, err
	}
	// protojson puts spaces in at random.
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
