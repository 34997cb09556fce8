package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
)

// valid answers with an empty message of the right type, and fails if what came is not of the type that it says.
type valid struct {
	t testing.TB
	g *Gateway
}

func (v valid) Handle(_ context.Context, c actors.Command) (actors.Outcome, error) {
	r := v.g.routes.Load()
	m := r.methods["/"+c.Service+"/"+c.Method]
	if m.addressed() {
		if err := actors.ValidateID(c.ID); err != nil {
			v.t.Errorf("a command came through: %v", err)
		}
	}
	v.check(r, c.Payload)
	reply := actors.Payload{TypeURL: m.Output, ContentType: actors.ContentProtobuf}
	if m.Descriptor == nil {
		reply = actors.Payload{TypeURL: m.Output, ContentType: actors.ContentJSON, Data: []byte("{}")}
	}
	return actors.Outcome{Reply: &reply}, nil
}

func (v valid) check(r *routes, p actors.Payload) {
	if p.ContentType != actors.ContentProtobuf {
		return
	}
	d, err := r.catalog.Files().FindDescriptorByName(protoreflect.FullName(strings.TrimPrefix(p.TypeURL, protobufPrefix)))
	if err != nil {
		v.t.Fatal(err)
	}
	if err := proto.Unmarshal(p.Data, dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))); err != nil {
		v.t.Errorf("a payload came through: %v", err)
	}
}

func (v valid) Stream(ctx context.Context, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	for in != nil {
		i, err := in()
		if err != nil {
			break
		}
		v.check(v.g.routes.Load(), i.Payload)
	}
	o, err := v.Handle(ctx, c)
	if err != nil {
		return err
	}
	return out(o)
}

// Whatever a request says, it becomes a valid command or a mistake of the caller.
func FuzzRequest(f *testing.F) {
	for _, s := range [][4]string{
		{"POST", "/cart/c1/items/add", "application/json", `{"product":"x","quantity":2}`},
		{"GET", "/all?s=a&i=-5&inner.s=x&list=1&list=2&at=2020-01-02T03:04:05Z&wrapped=6&y=w6k%3D&size=1", "", ""},
		{"PUT", "/all/k/1?i=3", "application/json", `{"product":"p"}`},
		{"POST", "/upload", "image/png", "\x89PNG"},
		{"POST", "/shop.v1.Echo/Both", "application/json", "{}\n{}"},
		{"POST", "/shop.v1.Echo/Say", webBinary, "\x00\x00\x00\x00\x00"},
		{"POST", "/shop.v1.Echo/Say", webText, "AAAAAAA="},
		{"POST", "/entities/ShoppingCart/a%2Fb/Plain", "application/protobuf", "\x0a\x03a/b"},
		{"POST", "/entities/List/x/Put", "application/json", "[1]"},
		{"GET", "/entities/List/x/outcomes/y", "", ""},
		{"GET", "/carts/x/tags", "", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	c := shop(f)
	f.Fuzz(func(t *testing.T, verb, target, contentType, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || isGRPC(contentType) {
			return
		}
		g, err := New(Config{Commands: valid{}, MaxMessage: 1 << 12})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Update(c); err != nil {
			t.Fatal(err)
		}
		g.config.Commands = valid{t, g}
		w := httptest.NewRecorder()
		g.serveHTTP(w, (&http.Request{
			Method: verb, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {contentType}},
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}).WithContext(t.Context()))
		if w.Code >= 500 {
			t.Errorf("%s %s %s %q: %d %s", verb, target, contentType, body, w.Code, w.Body)
		}
	})
}
