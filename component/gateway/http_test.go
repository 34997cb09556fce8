package gateway

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
)

func TestRules(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.user.handle = func(_ context.Context, c actors.Command) (actors.Outcome, error) {
		switch c.Method {
		case "Get":
			return actors.Outcome{Sequence: 3, Reply: r.message(t, "shop.v1.Cart",
				`{"items": [{"product": "tea", "quantity": 0}, {"product": "x", "quantity": 2}], "total": "9007199254740993", "tags": {"a": "1"}, "raw": "w6k="}`)}, nil
		case "Add":
			return actors.Outcome{Reply: &actors.Payload{TypeURL: protobufPrefix + "google.protobuf.Empty", ContentType: actors.ContentProtobuf}, Sequence: 4}, nil
		case "Plain":
			return actors.Outcome{Reply: &actors.Payload{TypeURL: protobufPrefix + "shop.v1.Text", ContentType: actors.ContentProtobuf}}, nil
		default:
			return actors.Outcome{Reply: &c.Payload}, nil
		}
	}
	const cart = `{"items":[{"product":"tea","quantity":0},{"product":"x","quantity":2}],"total":"9007199254740993","tags":{"a":"1"},"raw":"w6k="}`
	for _, c := range []struct {
		verb, path, body string
		status           int
		answer           string // all of it, or with … before it a part
		command          string // service/id.method input
	}{
		{"POST", "/cart/c%2F1/items/add", `{"product": "tea", "quantity": 2}`, 200, `{}`, `shop.v1.ShoppingCart/c/1.Add {"cartId":"c/1","product":"tea","quantity":2}`},
		{"POST", "/cart/c1/items/add", `{"cart_id": "other", "product": "tea"}`, 200, `{}`, `shop.v1.ShoppingCart/c1.Add {"cartId":"c1","product":"tea"}`},
		{"POST", "/cart/c1/items/add", ``, 200, `{}`, `shop.v1.ShoppingCart/c1.Add {"cartId":"c1"}`},
		{"GET", "/carts/c1", ``, 200, cart, `shop.v1.ShoppingCart/c1.Get {"cartId":"c1"}`},
		{"GET", "/carts/c1/items", ``, 200, `[{"product":"tea"},{"product":"x","quantity":2}]`, ""},
		{"GET", "/carts/c1/first", ``, 200, `{"product":"","quantity":0}`, ""},
		{"GET", "/carts/c1/total", ``, 200, `9007199254740993`, ""},
		{"GET", "/carts/c1/tags", ``, 200, `{"a":1}`, ""},
		{"GET", "/carts/c1/raw", ``, 200, `"é"`, ""},
		{"PATCH", "/any/c1:look", ``, 200, cart, `shop.v1.ShoppingCart/c1.Get {"cartId":"c1"}`},
		{"POST", "/shop.v1.ShoppingCart/Plain", `{"cartId": "c1"}`, 200, `{"text":""}`, `shop.v1.ShoppingCart/c1.Plain {"cartId":"c1"}`},
		{"POST", "/shop.v1.Echo/Say", `{"text": "é"}`, 200, `{"text":"é"}`, `shop.v1.Echo/.Say {"text":"é"}`},
		{"GET", "/all?s=a&i=-5&u=7&d=1.5&b=True&y=w6k%3D&size=LARGE&list=1&list=2&inner.s=x&inner.inner.i=4&at=2020-01-02T03:04:05Z&wrapped=6&text=true", ``, 200, "…",
			`shop.v1.Echo/.All {"s":"a","i":"-5","u":7,"d":1.5,"b":true,"y":"w6k=","size":"LARGE","list":[1,2],"inner":{"s":"x","inner":{"i":"4"}},"at":"2020-01-02T03:04:05Z","wrapped":"6","text":"true"}`},
		{"PUT", "/all/k/1?i=3", `{"product": "p"}`, 200, "…", `shop.v1.Echo/.All {"s":"k","i":"3","size":"LARGE","item":{"product":"p"}}`},
		{"GET", "/nested/deep", ``, 200, "…", `shop.v1.Echo/.All {"inner":{"s":"deep"}}`},

		{"POST", "/cart/c1/items/add", `{"product": 5}`, 400, "…product", ""},
		{"POST", "/cart/c1/items/add", `{"nope": 5}`, 400, "…nope", ""},
		{"POST", "/cart/c1/items/add", `{`, 400, "…JSON", ""},
		{"POST", "/cart/c1/items/add", "{\"product\": \"\xff\"}", 400, "…UTF-8", ""},
		{"POST", "/cart//items/add", `{}`, 400, "…cartId", ""},
		{"POST", "/shop.v1.ShoppingCart/Plain", ``, 400, "…cartId", ""},
		{"GET", "/all?i=x", ``, 400, "…query parameter i", ""},
		{"GET", "/all?nope=x", ``, 400, "…nope", ""},
		{"GET", "/all?s.x=x", ``, 400, "…shop.v1.All.s", ""},
		{"GET", "/all?tags=x", ``, 400, "…tags", ""},
		{"GET", "/all?s=1&s=2", ``, 400, "…2 times", ""},
		{"GET", "/all?size=HUGE", ``, 400, "…shop.v1.Size", ""},
		{"GET", "/all?f=1e99", ``, 400, "…float", ""},
		{"GET", "/all?at=yesterday", ``, 400, "…Timestamp", ""},
		{"GET", "/all?s=%zz", ``, 400, "…query", ""},
		{"PUT", "/all/k/HUGE", `{}`, 400, "…path", ""},
		{"GET", "/cart/c1/items/add", ``, 405, "…POST", ""},
		{"DELETE", "/carts/c1", ``, 405, "…GET", ""},
		{"GET", "/nowhere", ``, 404, "…nowhere", ""},
		{"POST", "/shop.v1.Echo/All", `{}`, 404, "…Echo/All", ""}, // it has rules, so the default one is not served
		{"GET", "/", ``, 404, "…", ""},
	} {
		before := len(r.user.commands)
		got := r.call(t, c.verb, c.path, c.body)
		want, part := strings.CutPrefix(c.answer, "…")
		if got.status != c.status || !part && got.body != want || part && !strings.Contains(got.body, want) {
			t.Errorf("%s %s %s: got %d %s, want %d %s", c.verb, c.path, c.body, got.status, got.body, c.status, c.answer)
		}
		if ct := got.header.Get("Content-Type"); c.status == 200 && ct != "application/json" || c.status != 200 && ct != "application/problem+json" {
			t.Errorf("%s %s: the content type is %q", c.verb, c.path, ct)
		}
		if c.status == 405 && got.header.Get("Allow") != want {
			t.Errorf("%s %s: allowed is %q", c.verb, c.path, got.header.Get("Allow"))
		}
		if c.status != 200 && len(r.user.commands) > before {
			t.Errorf("%s %s: it was refused and carried out", c.verb, c.path)
		}
		if c.command != "" {
			last := r.user.last(t)
			if s := last.Ref.String() + "." + last.Method + " " + r.json(t, last.Payload); s != c.command {
				t.Errorf("%s %s: got %s, want %s", c.verb, c.path, s, c.command)
			}
		}
	}
}

func TestHTTPErrors(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for _, c := range []struct {
		outcome     actors.Outcome
		err         error
		status      int
		contentType string
		body        string // as above
	}{
		{actors.Outcome{Failure: actors.Errorf(actors.Unknown, "expected failure")}, nil, 500, "text/plain; charset=utf-8", "expected failure"},
		{actors.Outcome{}, actors.Errorf(actors.Unknown, "Unexpected entity reply"), 500, "text/plain; charset=utf-8", "Unexpected entity reply"},
		{actors.Outcome{Failure: actors.Errorf(actors.FailedPrecondition, "closed")}, nil, 400, "application/problem+json",
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"closed","code":"FAILED_PRECONDITION"}`},
		{actors.Outcome{Failure: actors.Errorf(actors.Unimplemented, "not yet")}, nil, 501, "application/problem+json", "…UNIMPLEMENTED"},
		{actors.Outcome{Failure: actors.Errorf(actors.NotFound, "no")}, nil, 404, "application/problem+json", "…NOT_FOUND"},
		{actors.Outcome{}, actors.Errorf(actors.Unimplemented, "no such service"), 404, "application/problem+json", "…UNIMPLEMENTED"},
		{actors.Outcome{}, actors.Errorf(actors.Aborted, "conflict"), 409, "application/problem+json", "…ABORTED"},
		{actors.Outcome{}, actors.Errorf(actors.ResourceExhausted, "full"), 429, "application/problem+json", "…RESOURCE_EXHAUSTED"},
		{actors.Outcome{}, actors.Errorf(actors.Unavailable, "down"), 503, "application/problem+json", "…UNAVAILABLE"},
		{actors.Outcome{}, actors.Errorf(actors.DeadlineExceeded, "late"), 504, "application/problem+json", "…DEADLINE_EXCEEDED"},
		{actors.Outcome{}, context.DeadlineExceeded, 504, "application/problem+json", "…deadline passed"},
		{actors.Outcome{}, json.Unmarshal([]byte("{secret"), new(int)), 500, "application/problem+json", "…inside the gateway"},
		{actors.Outcome{}, nil, 500, "application/problem+json", "…answered nothing"},
		{actors.Outcome{Reply: &actors.Payload{TypeURL: protobufPrefix + "shop.v1.Text", ContentType: actors.ContentProtobuf, Data: []byte{0xff}}}, nil, 500, "application/problem+json", "…not a valid shop.v1.Text"},
	} {
		r.user.handle = func(context.Context, actors.Command) (actors.Outcome, error) { return c.outcome, c.err }
		got := r.call(t, "POST", "/shop.v1.Echo/Say", `{}`)
		want, part := strings.CutPrefix(c.body, "…")
		if got.status != c.status || got.header.Get("Content-Type") != c.contentType || !part && got.body != want || part && !strings.Contains(got.body, want) {
			t.Errorf("%v %v: got %d %s %s", c.outcome.Failure, c.err, got.status, got.header.Get("Content-Type"), got.body)
		}
	}
	r.user.handle = func(context.Context, actors.Command) (actors.Outcome, error) { panic("boom") }
	if got := r.call(t, "POST", "/shop.v1.Echo/Say", `{}`); got.status != 500 || strings.Contains(got.body, "boom") {
		t.Errorf("a panic: %d %s", got.status, got.body)
	}
}

func TestMetadataOverHTTP(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.user.handle = func(_ context.Context, c actors.Command) (actors.Outcome, error) {
		return actors.Outcome{
			Reply: &actors.Payload{TypeURL: protobufPrefix + "google.protobuf.Empty"}, Sequence: 12, Repeated: true,
			Metadata: actors.Metadata{
				{Key: "X-One", Text: "1"}, {Key: "x-one", Text: "2"}, {Key: "x-bytes", Bytes: []byte{1, 2}},
				{Key: "grpc-status", Text: "5"}, {Key: "Content-Length", Text: "5"}, {Key: "x-evil", Text: "a\r\nb: c"}, {Key: "x y", Text: "z"},
			},
		}, nil
	}
	got := r.call(t, "POST", "/cart/c1/items/add", `{}`, "Idempotency-Key", "k1", "X-In", "v", "X-In-Bin", "AQI", "Te", "trailers")
	if got.status != 200 {
		t.Fatal(got)
	}
	h := got.header
	if strings.Join(h.Values("X-One"), ",") != "1,2" || h.Get("x-bytes-bin") != "AQI" || h.Get("entities-sequence") != "12" ||
		h.Get("entities-repeated") != "true" || h.Get("grpc-status") != "" || h.Get("x-evil") != "" || h.Get("b") != "" {
		t.Errorf("headers: %v", h)
	}
	c := r.user.last(t)
	if c.Key != "k1" || c.Metadata.Get("x-in") != "v" || c.Metadata.Get("te") != "" || c.Metadata.Get(keyHeader) != "" {
		t.Errorf("command: %+v", c)
	}
	for _, e := range c.Metadata {
		if e.Key == "x-in-bin" && string(e.Bytes) != "\x01\x02" {
			t.Errorf("binary header: %v", e)
		}
	}
	for header, value := range map[string]string{"X-Bin": "!", "Idempotency-Key": strings.Repeat("k", maxKey+1)} {
		if got := r.call(t, "POST", "/cart/c1/items/add", `{}`, header, value); got.status != 400 {
			t.Errorf("%s: %v", header, got)
		}
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MaxMessage = 1 << 10 })
	for _, c := range []struct {
		path, contentType, body string
		status                  int
		answer                  string
	}{
		{"/shop.v1.Echo/Say", "application/json; charset=utf-8", `{"text":"a"}`, 200, `{"text":"a"}`},
		{"/shop.v1.Echo/Say", "application/cloudevents+json", `{"text":"a"}`, 200, `{"text":"a"}`},
		{"/shop.v1.Echo/Say", "application/protobuf", string(text("a")), 200, string(text("a"))},
		{"/shop.v1.Echo/Say", "application/protobuf", "\xff", 400, ""},
		{"/shop.v1.Echo/Say", "application/x-www-form-urlencoded", `{"text":"a"}`, 200, `{"text":"a"}`},
		{"/shop.v1.Echo/Say", "text/plain", `{"text":"a"}`, 415, ""},
		{"/shop.v1.Echo/Say", "application/json", `{"text":"` + strings.Repeat("a", 1<<10-11) + `"}`, 200, `{"text":"` + strings.Repeat("a", 1<<10-11) + `"}`},
		{"/shop.v1.Echo/Say", "application/json", `{"text":"` + strings.Repeat("a", 1<<10-10) + `"}`, 413, ""},
		{"/upload", "image/png", "\x89PNG", 200, "\x89PNG"},
		{"/upload", "text/plain", "", 200, ""},
		{"/file/name", "image/png", "\x89PNG", 200, `…"file":{"contentType":"image/png","data":"iVBORw=="`},
		{"/entities/Echo/Say", "application/x-protobuf", string(text("a")), 200, string(text("a"))},
		{"/entities/Echo/Say", "text/plain", "a", 415, ""},
		{"/shop.v1.Echo/Say", "application/grpc", "a", 505, ""},
	} {
		got := r.call(t, "POST", c.path, c.body, "Content-Type", c.contentType)
		want, part := strings.CutPrefix(c.answer, "…")
		if got.status != c.status || c.status == 200 && (!part && got.body != want || part && !strings.Contains(got.body, want)) {
			t.Errorf("%s %s: got %d %.200q", c.path, c.contentType, got.status, got.body)
		}
		if c.contentType == "application/x-www-form-urlencoded" { // of a browser it is a form
			for _, header := range []string{"Origin", "Sec-Fetch-Site"} {
				if got := r.call(t, "POST", c.path, c.body, "Content-Type", c.contentType, header, "https://shop.example"); got.status != 415 {
					t.Errorf("with %s: got %d %.200q", header, got.status, got.body)
				}
			}
		}
		if ct := got.header.Get("Content-Type"); c.path == "/upload" && ct != c.contentType {
			t.Errorf("%s %s: the answer's is %q", c.path, c.contentType, ct)
		}
	}
}
