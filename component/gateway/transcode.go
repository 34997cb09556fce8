package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
)

// transcode answers a request by a rule.
func (g *Gateway) transcode(w http.ResponseWriter, r *http.Request, b *binding, path requestPath) {
	g.exchange(w, r, b.method, actors.Command{}, b.response, func(kind mediaKind, doc []byte) (actors.Payload, error) {
		return b.input(r, path, kind, doc)
	}, b.media)
}

// mediaKind is what a request's body is.
type mediaKind uint8

const (
	jsonMedia mediaKind = iota
	protobufMedia
	rawMedia
)

// mediaOf reads the content type of a request with a body of JSON or protobuf. A browser sends those to other origins only
// after asking, and others, such as forms, without: they are refused. What curl -d calls a form is JSON here, as it is to
// Dapr: a browser would have said that it is one.
func mediaOf(h http.Header) (mediaKind, error) {
	contentType := h.Get("Content-Type")
	if contentType == "" || contentType == actors.ContentJSON {
		return jsonMedia, nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && media == "application/x-www-form-urlencoded" && h.Get("Origin") == "" && h.Get("Sec-Fetch-Site") == "":
		return jsonMedia, nil
	case err == nil && (media == actors.ContentJSON || media == "application/x-ndjson" || strings.HasSuffix(media, "+json")):
		return jsonMedia, nil
	case err == nil && slices.Contains([]string{actors.ContentProtobuf, "application/x-protobuf", "application/octet-stream"}, media):
		return protobufMedia, nil
	}
	return 0, refuse(http.StatusUnsupportedMediaType, actors.InvalidArgument,
		"the content type %q is not known here; send JSON with application/json, or protobuf with application/protobuf", cut(contentType))
}

const httpBody = "google.api.HttpBody"

// media is what the body of a request is by this rule.
func (b *binding) media(h http.Header) (mediaKind, error) {
	switch {
	case b.body == noBody,
		b.body == wholeBody && b.method.Descriptor.Input().FullName() == httpBody,
		b.body == fieldBody && b.bodyField.Message().FullName() == httpBody:
		return rawMedia, nil
	}
	return mediaOf(h)
}

// input makes the input of a body, the query and the path, each of which overrides those before it.
func (b *binding) input(r *http.Request, path requestPath, kind mediaKind, doc []byte) (actors.Payload, error) {
	msg := dynamicpb.NewMessage(b.method.Descriptor.Input())
	switch b.body {
	case wholeBody:
		if err := b.method.read(kind, r, doc, msg); err != nil {
			return actors.Payload{}, err
		}
	case fieldBody:
		if err := b.method.read(kind, r, doc, msg.Mutable(b.bodyField).Message()); err != nil {
			return actors.Payload{}, err
		}
		fallthrough
	case noBody:
		if err := b.query(r.URL.RawQuery, msg); err != nil {
			return actors.Payload{}, err
		}
	}
	for i, v := range b.template.variables {
		if err := b.captures[i].set(msg, b.template.capture(v, path), "path"); err != nil {
			return actors.Payload{}, err
		}
	}
	// Deterministic, because a repeated command is told from another one by its bytes.
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return actors.Payload{}, actors.Errorf(actors.InvalidArgument, "the request cannot be written as %s: a required field is missing, or a text is not valid UTF-8", msg.Descriptor().FullName())
	}
	return b.method.protobuf(data), nil
}

// read fills a message with a document of a body. No document is an empty message.
func (m *method) read(kind mediaKind, r *http.Request, doc []byte, msg protoreflect.Message) error {
	switch kind {
	case rawMedia:
		fields := msg.Descriptor().Fields()
		if ct := r.Header.Get("Content-Type"); ct != "" {
			msg.Set(fields.ByName("content_type"), protoreflect.ValueOfString(strings.ToValidUTF8(ct, "")))
		}
		if len(doc) > 0 {
			msg.Set(fields.ByName("data"), protoreflect.ValueOfBytes(doc))
		}
		return nil
	case protobufMedia:
		if err := (proto.UnmarshalOptions{Resolver: m.types, RecursionLimit: 100}).Unmarshal(doc, msg.Interface()); err != nil {
			return actors.Errorf(actors.InvalidArgument, "the body is not a serialized %s", msg.Descriptor().FullName())
		}
		return nil
	default:
		if len(bytes.TrimSpace(doc)) == 0 {
			return nil
		}
		return m.ReadJSON(doc, msg.Interface())
	}
}

// query puts the parameters into the message, in the order of their names.
func (b *binding) query(raw string, msg protoreflect.Message) error {
	if raw == "" {
		return nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return actors.Errorf(actors.InvalidArgument, "the query is malformed: it consists of name=value with & between, and two hexadecimal digits after each percent sign")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path, err := lookup(msg.Descriptor(), name)
		if err != nil {
			return actors.Errorf(actors.InvalidArgument, "the query parameter %q: %s", cut(name), err)
		}
		fd := path.leaf()
		switch {
		case fd.IsMap(), fd.Message() != nil && !textual[fd.Message().FullName()]:
			return actors.Errorf(actors.InvalidArgument, "the query parameter %q: the field is a message, and one text cannot fill it; name a field in it", cut(name))
		case len(values[name]) > 1 && fd.Cardinality() != protoreflect.Repeated:
			return actors.Errorf(actors.InvalidArgument, "the query parameter %q is there %d times, and the field takes one value", cut(name), len(values[name]))
		}
		for _, v := range values[name] {
			if err := path.set(msg, v, "query parameter "+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// decoder makes a payload of one document of a body.
type decoder func(kind mediaKind, doc []byte) (actors.Payload, error)

// exchange makes a call of an HTTP request, whichever route it came by, and answers it.
func (g *Gateway) exchange(w http.ResponseWriter, r *http.Request, m *method, c actors.Command, response protoreflect.FieldDescriptor, decode decoder, media func(http.Header) (mediaKind, error)) {
	began := time.Now()
	a := &answer{w: g.writer(w), m: m, response: response, silence: g.config.Heartbeat}
	var err error
	defer func() { a.heartbeat.stop() }()
	defer func() {
		if err != nil {
			a.fail(err)
		}
	}()
	defer g.finished("http", m, began, &err)
	err = func() error {
		kind, err := media(r.Header)
		if err != nil {
			return err
		}
		a.accept(r, kind)
		if c.Metadata, c.Key, err = received(r.Header, false); err != nil {
			return err
		}
		in := g.once(a.w, r, kind, decode)
		if m.StreamedIn && kind == jsonMedia {
			_ = a.w.control.EnableFullDuplex() // HTTP/2 is, and says that it cannot be told to
			in = g.documents(r, decode)
		}
		return g.carry(r.Context(), m, c, in, a.reply)
	}()
	if err == nil {
		err = a.end()
	}
}

// once reads a body that is one message.
func (g *Gateway) once(w *writer, r *http.Request, kind mediaKind, decode decoder) func() (actors.Input, error) {
	read := false
	return func() (actors.Input, error) {
		if read {
			return actors.Input{}, io.EOF
		}
		read = true
		_ = w.control.SetReadDeadline(time.Now().Add(g.config.BodyTimeout)) // see writer.Write
		doc, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, int64(g.config.MaxMessage)))
		if err != nil {
			return actors.Input{}, unreadable(err, g.config.MaxMessage)
		}
		_ = w.control.SetReadDeadline(time.Time{})
		p, err := decode(kind, doc)
		if err == nil && len(p.Data) > g.config.MaxMessage {
			err = tooLong(g.config.MaxMessage)
		}
		return actors.Input{Payload: p}, err
	}
}

// documents reads a body that is JSON documents, one after the other, as they come.
func (g *Gateway) documents(r *http.Request, decode decoder) func() (actors.Input, error) {
	body := &allowance{r: r.Body, most: g.config.MaxMessage}
	documents := json.NewDecoder(body)
	return func() (actors.Input, error) {
		body.left = body.most
		var doc json.RawMessage
		err := documents.Decode(&doc)
		_, malformed := errors.AsType[*json.SyntaxError](err)
		switch {
		case err == io.EOF: //nolint:errorlint // it is the end, and not something that ended early
			return actors.Input{}, io.EOF
		case malformed:
			return actors.Input{}, actors.Errorf(actors.InvalidArgument, "the body is not JSON, one document after the other, at byte %d", documents.InputOffset())
		case err != nil:
			return actors.Input{}, unreadable(err, body.most)
		}
		p, err := decode(jsonMedia, doc)
		return actors.Input{Payload: p}, err
	}
}

// allowance lets through so many bytes for one document. What the decoder has read ahead of the next one does not count.
type allowance struct {
	r          io.Reader
	most, left int
}

func (a *allowance) Read(b []byte) (int, error) {
	if a.left == 0 {
		return 0, &http.MaxBytesError{Limit: int64(a.most)}
	}
	n, err := a.r.Read(b[:min(len(b), a.left)])
	a.left -= n
	return n, err
}
