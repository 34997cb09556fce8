package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
)

func TestAddressedRoutes(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for _, c := range []struct {
		verb, path, body string
		status           int
		answer           string // as in TestRules
		command          string
	}{
		{"POST", "/entities/shop.v1.ShoppingCart/c1/Plain", `{"product": "tea"}`, 200, `{"cartId":"c1","product":"tea","quantity":0}`, `shop.v1.ShoppingCart/c1.Plain`},
		{"POST", "/entities/ShoppingCart/c1/Plain", ``, 200, `{"cartId":"c1","product":"","quantity":0}`, `shop.v1.ShoppingCart/c1.Plain`},
		{"POST", "/entities/ShoppingCart/a%2Fb%2520c/Plain", ``, 200, `{"cartId":"a/b%20c","product":"","quantity":0}`, `shop.v1.ShoppingCart/a/b%20c.Plain`},
		{"POST", "/entities/ShoppingCart/c1/Plain", `{"cartId": "c1"}`, 200, "…", `shop.v1.ShoppingCart/c1.Plain`},
		{"POST", "/entities/ShoppingCart/c1/Plain", `{"cartId": "c2"}`, 400, "…c2", ""},
		{"POST", "/entities/ShoppingCart/c1/Plain", `{"quantity": "x"}`, 400, "…quantity", ""},
		{"POST", "/entities/todo.List/l1/Put", `{"a": [1]}`, 200, `{"a": [1]}`, `todo.List/l1.Put`},
		{"POST", "/entities/List/l1/Put", ``, 200, `{}`, `todo.List/l1.Put`},
		{"POST", "/entities/List/l1/Put", `{`, 400, "…JSON", ""},
		{"POST", "/entities/Do/It", `[1]`, 200, `[1]`, `todo.Do/.It`},
		{"POST", "/entities/Do/Many", "{\"a\": 1}\n[2 ]", 200, "{\"a\":1}\n[2]\n", `todo.Do/.Many`},
		{"POST", "/entities/Echo/Say", `{"text": "x"}`, 200, `{"text":"x"}`, `shop.v1.Echo/.Say`},
		{"POST", "/entities/Nope/l1/Put", `{}`, 404, "…Nope", ""},
		{"POST", "/entities/List/l1/Nope", `{}`, 404, "…Put", ""},
		{"POST", "/entities/List/Put", `{}`, 404, "…/entities/todo.List/<id>", ""},
		{"POST", "/entities/Do/x/It", `{}`, 404, "…/entities/todo.Do/<command>", ""},
		{"POST", "/entities/", ``, 404, "…", ""},
		{"POST", "/entities/List//Put", `{}`, 400, "…empty", ""},
		{"POST", "/entities/List/%00/Put", `{}`, 400, "…control", ""},
		{"POST", "/entities/List/" + strings.Repeat("a", 257) + "/Put", `{}`, 400, "…257", ""},
		{"GET", "/entities/List/l1/Put", ``, 405, "…POST", ""},
	} {
		before := len(r.user.commands)
		got := r.call(t, c.verb, c.path, c.body)
		want, part := strings.CutPrefix(c.answer, "…")
		if got.status != c.status || !part && got.body != want || part && !strings.Contains(got.body, want) {
			t.Errorf("%s %s %s: got %d %s, want %d %s", c.verb, c.path, c.body, got.status, got.body, c.status, c.answer)
		}
		if c.status != 200 && len(r.user.commands) > before {
			t.Errorf("%s %s: it was refused and carried out", c.verb, c.path)
		}
		if c.command != "" {
			if last := r.user.last(t); last.Ref.String()+"."+last.Method != c.command {
				t.Errorf("%s %s: got %s.%s, want %s", c.verb, c.path, last.Ref, last.Method, c.command)
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	var asked string
	r := start(t, func(c *Config) {
		c.Outcomes = func(_ context.Context, ref actors.Ref, key string) (actors.Outcome, bool, error) {
			asked = ref.String() + " " + key
			switch key {
			case "done":
				return actors.Outcome{Sequence: 4, Reply: &actors.Payload{TypeURL: protobufPrefix + "shop.v1.Text", ContentType: actors.ContentProtobuf, Data: text("hi")}}, true, nil
			case "no":
				return actors.Outcome{Sequence: 4, Failure: actors.Errorf(actors.NotFound, "gone")}, true, nil
			case "down":
				return actors.Outcome{}, false, actors.Errorf(actors.Unavailable, "the journal cannot be reached")
			default:
				return actors.Outcome{}, false, nil
			}
		}
	})
	for key, want := range map[string]answered{
		"done":  {status: 200, body: `{"sequence":4,"reply":{"text":"hi"}}`},
		"no":    {status: 200, body: `{"sequence":4,"failure":{"code":"NOT_FOUND","message":"gone"}}`},
		"down":  {status: 503},
		"a%2Fb": {status: 404},
		"":      {status: 400},
	} {
		got := r.call(t, "GET", "/entities/ShoppingCart/c%2F1/outcomes/"+key, "")
		if got.status != want.status || want.body != "" && got.body != want.body {
			t.Errorf("%s: got %d %s", key, got.status, got.body)
		}
		if key == "a%2Fb" && asked != "shop.v1.ShoppingCart/c/1 a/b" {
			t.Errorf("asked for %s", asked)
		}
	}
	if got := r.call(t, "POST", "/entities/ShoppingCart/c1/outcomes/k", `{}`); got.status != 405 {
		t.Errorf("POST: %v", got)
	}
	if got := start(t, nil).call(t, "GET", "/entities/ShoppingCart/c1/outcomes/k", ""); got.status != 404 {
		t.Errorf("without a journal: %v", got)
	}
}

func TestOwnPaths(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	if got := r.call(t, "GET", "/x", "", probeHeader, "queue"); got.status != 200 || got.body != "queue" {
		t.Errorf("probe: %v", got)
	}
	if got := r.call(t, "GET", "/x", "", probeHeader, "other"); got.status != 400 {
		t.Errorf("another probe: %v", got)
	}
	if got := r.call(t, "POST", openAPIPath, "{}"); got.status != 405 || got.header.Get("Allow") != "GET" {
		t.Errorf("POST %s: %v", openAPIPath, got)
	}
	g, err := New(Config{Commands: new(user)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.route(nil, &http.Request{Method: "GET", URL: mustURL("/x"), Header: http.Header{}}); httpStatus(err) != 503 {
		t.Errorf("without a catalog: %v", err)
	}
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	got := r.call(t, "GET", openAPIPath, "")
	var d struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Required bool
			}
			RequestBody map[string]any
			Responses   map[string]any
		}
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(got.body), &d); err != nil || got.status != 200 || !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Fatalf("%v: %v", err, got)
	}
	for path, verbs := range map[string]string{
		"/cart/{cart_id}/items/add": "post", "/carts/{cart_id}/items": "get", "/shop.v1.Echo/Say": "post",
		"/any/{cart_id}:look": "delete get patch post put", "/entities/shop.v1.ShoppingCart/{id}/Add": "post",
		"/entities/todo.List/{id}/Put": "post", "/entities/todo.Do/It": "post", "/entities/todo.List/{id}/outcomes/{key}": "get",
	} {
		var have []string
		for _, v := range []string{"delete", "get", "patch", "post", "put"} {
			if _, ok := d.Paths[path][v]; ok {
				have = append(have, v)
			}
		}
		if strings.Join(have, " ") != verbs {
			t.Errorf("%s has %v, want %s", path, have, verbs)
		}
	}
	var query []string
	for _, p := range d.Paths["/all"]["get"].Parameters {
		query = append(query, p.In+" "+p.Name)
	}
	for _, want := range []string{"query s", "query size", "query list", "query at", "query item.product"} {
		if !strings.Contains(strings.Join(query, ","), want) {
			t.Errorf("%s is not among %v", want, query)
		}
	}
	var item any
	if err := json.Unmarshal(d.Components.Schemas["shop.v1.Item"], &item); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"type": "object", "properties": map[string]any{
		"product": map[string]any{"type": "string"}, "quantity": map[string]any{"type": "integer", "format": "int32"},
	}}, item); diff != "" {
		t.Error(diff)
	}
	// Every reference leads somewhere.
	for _, ref := range strings.Split(got.body, `"$ref":"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if d.Components.Schemas[name] == nil {
			t.Errorf("%s is not described", name)
		}
	}
}

func TestStreamsOverHTTP(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	go3 := func(fail error) func(context.Context, actors.Command, func() (actors.Input, error), func(actors.Outcome) error) error {
		return func(_ context.Context, _ actors.Command, _ func() (actors.Input, error), out func(actors.Outcome) error) error {
			for _, w := range []string{"a", "b"} {
				if err := out(actors.Outcome{Reply: &actors.Payload{TypeURL: protobufPrefix + "shop.v1.Text", ContentType: actors.ContentProtobuf, Data: text(w)}}); err != nil {
					return err
				}
			}
			return fail
		}
	}
	r.user.stream = go3(nil)
	for accept, want := range map[string]answered{
		"":                     {header: http.Header{"Content-Type": {"application/json"}}, body: "{\"text\":\"a\"}\n{\"text\":\"b\"}\n"},
		"application/x-ndjson": {header: http.Header{"Content-Type": {"application/x-ndjson"}}, body: "{\"text\":\"a\"}\n{\"text\":\"b\"}\n"},
		"text/event-stream":    {header: http.Header{"Content-Type": {"text/event-stream"}}, body: "data: {\"text\":\"a\"}\n\ndata: {\"text\":\"b\"}\n\n"},
	} {
		got := r.call(t, "POST", "/shop.v1.Echo/Out", `{}`, "Accept", accept)
		if got.status != 200 || got.body != want.body || got.header.Get("Content-Type") != want.header.Get("Content-Type") {
			t.Errorf("%s: got %v", accept, got)
		}
	}
	// A failure after the first reply shows, however one looks.
	r.user.stream = go3(actors.Errorf(actors.Aborted, "stopped"))
	got := r.call(t, "POST", "/shop.v1.Echo/Out", `{}`, "Accept", "text/event-stream")
	if !strings.HasSuffix(got.body, "event: error\ndata: {\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,\"detail\":\"stopped\",\"code\":\"ABORTED\"}\n\n") {
		t.Errorf("got %v", got)
	}
	resp, err := r.http.Post(r.url+"/shop.v1.Echo/Out", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil || !strings.Contains(string(b), `{"error":{`) {
		t.Errorf("a broken stream looks whole: %q, %v", b, err)
	}
	// One before it has a status.
	r.user.stream = func(context.Context, actors.Command, func() (actors.Input, error), func(actors.Outcome) error) error {
		return actors.Errorf(actors.Unavailable, "down")
	}
	if got := r.call(t, "POST", "/shop.v1.Echo/Out", `{}`); got.status != 503 {
		t.Errorf("got %v", got)
	}
	// Raw data have the content type that came with the first.
	r.user.stream = func(_ context.Context, _ actors.Command, _ func() (actors.Input, error), out func(actors.Outcome) error) error {
		for _, data := range []string{"a\n", "b"} {
			err := out(actors.Outcome{Reply: r.message(t, httpBody, `{"data": "`+map[string]string{"a\n": "YQo=", "b": "Yg=="}[data]+`"}`), Metadata: actors.Metadata{{Key: "Content-Type", Text: "text/csv"}}})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if got := r.call(t, "GET", "/download", ""); got.body != "a\nb" || got.header.Get("Content-Type") != "text/csv" {
		t.Errorf("got %v", got)
	}
	r.user.stream = nil
	for body, want := range map[string]answered{
		"{\"text\":\"a\"}\n{\"text\":\"b\"}": {status: 200, body: "{\"text\":\"a\"}\n{\"text\":\"b\"}\n"},
		"":                                   {status: 200, body: ""},
		"{\"nope\":\"a\"}":                   {status: 400},
		"{":                                  {status: 400},
	} {
		got := r.call(t, "POST", "/shop.v1.Echo/Both", body)
		if got.status != want.status || want.status == 200 && got.body != want.body {
			t.Errorf("%q: got %v", body, got)
		}
	}
}

// Over HTTP/1.1 too, an answer comes before the next document is sent.
func TestDuplexOverHTTP(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	in, out := io.Pipe()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "POST", r.url+"/entities/Echo/Both", in)
	req.Header.Set("Content-Type", "application/json")
	go out.Write([]byte("{\"text\":\"1\"}\n"))
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, want := range []string{"1", "2", "3"} {
		if !lines.Scan() || lines.Text() != `{"text":"`+want+`"}` {
			t.Fatalf("got %q, %v, want %s", lines.Text(), lines.Err(), want)
		}
		if want != "3" {
			out.Write([]byte("{\"text\":\"" + string(want[0]+1) + "\"}\n"))
		}
	}
	out.Close()
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("the end: %q %v", lines.Text(), lines.Err())
	}
}
