package gateway

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
)

// gRPC-Web: gRPC's frames as the body of any request, and the trailers as one more frame, for browsers, which cannot read
// trailers. The text form has all of it in base64.
const (
	webBinary = "application/grpc-web"
	webText   = "application/grpc-web-text"

	frameHead       = 5
	frameCompressed = 1
	frameTrailers   = 0x80
)

// isWeb reports whether a content type is that of gRPC-Web with protobuf, and whether of its text form.
func isWeb(contentType string) (text, ok bool) {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(media)), "+proto")
	return media == webText, media == webText || media == webBinary
}

// serveWeb answers a call by gRPC-Web. Whatever happens, the HTTP status is 200 and gRPC's is in the trailers.
func (g *Gateway) serveWeb(w http.ResponseWriter, r *http.Request, text bool) {
	out := &webWriter{w: g.writer(w), text: text}
	if accept := r.Header.Get("Accept"); accept != "" && accept != "*/*" {
		out.text, _ = isWeb(accept)
	}
	var body io.Reader = r.Body
	if text {
		body = &textReader{r: r.Body}
	}
	m, err := g.routes.Load().native(r.URL.EscapedPath())
	if err != nil {
		out.finish(err, false)
		return
	}
	err = g.web(r, m, out, &frameReader{r: body, most: g.config.MaxMessage})
	out.finish(err, m.addressed())
}

func (g *Gateway) web(r *http.Request, m *method, out *webWriter, in *frameReader) (err error) {
	defer g.finished("grpc-web", m, time.Now(), &err)
	c := actors.Command{}
	if c.Metadata, c.Key, err = received(r.Header, false); err != nil {
		return err
	}
	ctx := r.Context()
	if timeout := r.Header.Get("grpc-timeout"); timeout != "" {
		d, ok := parseTimeout(timeout)
		if !ok {
			return actors.Errorf(actors.InvalidArgument, "the header grpc-timeout is %q, and not up to 8 digits with one of H, M, S, m, u, n", cut(timeout))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	if m.StreamedIn {
		_ = out.w.control.EnableFullDuplex() // HTTP/2 is, and says that it cannot be told to
	} else {
		_ = out.w.control.SetReadDeadline(time.Now().Add(g.config.BodyTimeout)) // see writer.Write
	}
	return g.carry(ctx, m, c,
		func() (actors.Input, error) {
			data, err := in.next()
			if err == nil && !m.StreamedIn {
				err = out.w.drained(in)
			}
			return actors.Input{Payload: m.protobuf(data)}, err
		},
		func(o actors.Outcome) error {
			if o.Reply == nil {
				out.begin(o, m.addressed())
				return out.w.flush()
			}
			data, err := m.wire(*o.Reply)
			if err != nil {
				return err
			}
			out.begin(o, m.addressed())
			return out.frame(0, data)
		})
}

// drained reads the end of a body that was one message, so that the caller's going away is noticed, and takes the
// deadline back.
func (w *writer) drained(in *frameReader) error {
	switch _, err := in.next(); {
	case err == nil:
		return actors.Errorf(actors.InvalidArgument, "the method takes one message, and more came")
	case !errors.Is(err, io.EOF):
		return err
	}
	_ = w.control.SetReadDeadline(time.Time{})
	return nil
}

// parseTimeout reads the form that gRPC has for one.
func parseTimeout(s string) (time.Duration, bool) {
	units := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	unit, ok := units[s[len(s)-1]]
	if n > uint64(1<<62/max(unit, 1)) {
		return 1 << 62, ok && err == nil
	}
	return time.Duration(n) * unit, ok && err == nil
}

// frameReader takes a body apart into messages.
type frameReader struct {
	r    io.Reader
	most int
}

// next returns io.EOF after the last message. A frame of trailers, which nobody sends in this direction, ends it too.
func (f *frameReader) next() ([]byte, error) {
	var head [frameHead]byte
	switch _, err := io.ReadFull(f.r, head[:]); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, brokenFrame(err)
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, brokenFrame(err)
	}
	switch flags := head[0]; {
	case flags&frameTrailers != 0:
		return nil, io.EOF
	case flags&frameCompressed != 0:
		return nil, actors.Errorf(actors.Unimplemented, "compressed messages are not taken over gRPC-Web; send them as they are")
	case flags != 0:
		return nil, actors.Errorf(actors.InvalidArgument, "the body has a frame with the unknown flags %#x", flags)
	}
	size := binary.BigEndian.Uint32(head[1:])
	if int64(size) > int64(f.most) {
		return nil, actors.Errorf(actors.ResourceExhausted, "a message of %d bytes is longer than the %d that are allowed", size, f.most)
	}
	// What is said to come may never come: the memory grows with what does.
	data, err := io.ReadAll(io.LimitReader(f.r, int64(size)))
	if err == nil && len(data) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, brokenFrame(err)
	}
	return data, nil
}

func brokenFrame(err error) error {
	if coded, ok := errors.AsType[*actors.Error](err); ok {
		return coded
	}
	return actors.Errorf(actors.InvalidArgument, "the body of the request ends within a frame, or could not be read: %w", err)
}

// textReader decodes base64 in groups of four, as they come. Each message may have been padded on its own.
type textReader struct {
	r     io.Reader
	group [4]byte
	out   []byte
	space [3]byte
}

func (t *textReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if len(t.out) == 0 {
		n, err := io.ReadFull(t.r, t.group[:])
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return 0, actors.Errorf(actors.InvalidArgument, "the body ends within a group of base64 (%d of 4 characters)", n)
		case err != nil:
			return 0, err
		}
		size, err := base64.StdEncoding.Decode(t.space[:], t.group[:])
		if err != nil {
			return 0, actors.Errorf(actors.InvalidArgument, "the body is not base64")
		}
		t.out = t.space[:size]
	}
	n := copy(b, t.out)
	t.out = t.out[n:]
	return n, nil
}

// webWriter writes an answer.
type webWriter struct {
	w     *writer
	text  bool
	began bool
}

// begin writes the headers, which are those of the first reply.
func (w *webWriter) begin(o actors.Outcome, addressed bool) {
	if w.began {
		return
	}
	w.began = true
	h := w.w.Header()
	replyHeaders(h, o, addressed)
	contentType := webBinary + "+proto"
	if w.text {
		contentType = webText + "+proto"
	}
	h.Set("Content-Type", contentType)
	w.w.WriteHeader(http.StatusOK)
}

func (w *webWriter) frame(flags byte, data []byte) error {
	b := make([]byte, frameHead, frameHead+len(data))
	b[0] = flags
	binary.BigEndian.PutUint32(b[1:], uint32(len(data)))
	b = append(b, data...)
	if w.text {
		b = base64.StdEncoding.AppendEncode(nil, b)
	}
	if _, err := w.w.Write(b); err != nil {
		return err
	}
	return w.w.flush()
}

// finish writes the trailers.
func (w *webWriter) finish(err error, addressed bool) {
	w.begin(actors.Outcome{}, false)
	var b strings.Builder
	code, text := actors.OK, ""
	if err != nil {
		e := public(err)
		code, text = e.Code, e.Message
	}
	fmt.Fprintf(&b, "grpc-status: %d\r\ngrpc-message: %s\r\n", code, percentEncode(text))
	if f, ok := errors.AsType[*failure](err); ok {
		h := make(http.Header)
		replyHeaders(h, f.outcome, addressed)
		for key, values := range h {
			for _, v := range values {
				fmt.Fprintf(&b, "%s: %s\r\n", strings.ToLower(key), textproto.TrimString(v))
			}
		}
	}
	_ = w.frame(frameTrailers, []byte(b.String())) // whoever called may have gone
}

// percentEncode is gRPC's for messages.
func percentEncode(text string) string {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c > 0x7e || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
