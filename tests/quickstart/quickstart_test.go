package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// What make demo promises hangs on these: a wrong reply must not pass for an expected one.
func TestExpectations(t *testing.T) {
	t.Parallel()

	for _, c := range []struct {
		name   string
		want   func(harness.Response) error
		status int
		body   string
		ok     bool
	}{
		{"same JSON", replies(`{"items":[]}`), 200, `{ "items": [] }`, true},
		{"other JSON", replies(`{"items":[]}`), 200, `{"items":[{}]}`, false},
		{"no JSON", replies(`{"items":[]}`), 200, ``, false},
		{"failure instead of JSON", replies(`{"items":[]}`), 500, `{"items":[]}`, false},
		{"failure with its text", fails("pen", "-1"), 500, `the quantity of pen is -1`, true},
		{"failure with another text", fails("pen", "-1"), 500, `actor not found`, false},
		{"success instead of failure", fails("pen"), 200, `pen`, false},
		{"events", tells("item-added", 2), 200, `[{"name":"item-added"},{"name":"item-added"}]`, true},
		{"an event too many", tells("item-added", 1), 200, `[{"name":"item-added"},{"name":"item-added"}]`, false},
		{"no events", tells("item-added", 0), 500, ``, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()

			err := c.want(harness.Response{Status: c.status, Header: http.Header{}, Body: []byte(c.body)})
			if (err == nil) != c.ok {
				t.Errorf("got %v, want ok to be %t", err, c.ok)
			}
		})
	}
}

func TestNoColourInFiles(t *testing.T) {
	t.Parallel()

	var out strings.Builder

	p := newPrinter(&out)
	p.title("Title")
	p.response(harness.Response{Status: 200, Body: []byte(`{}`)})

	if got, want := out.String(), "\nTitle\n  200 OK\n  {}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPicturesBesideEachOther(t *testing.T) {
	t.Parallel()

	seen := time.Date(2026, 1, 2, 13, 14, 15, 0, time.UTC)
	one := picture{title: "one", faces: map[string]face{
		"Ada": {known: true, online: true, unread: 12}, "Bob": {known: true, seen: seen}, "Dan": {known: true, online: true},
	}}
	two := picture{title: "two", faces: map[string]face{
		"Ada": {known: true, online: true, unread: 12}, "Bob": {known: true, seen: seen, unread: 1},
	}}

	var out strings.Builder

	newPrinter(&out).pictures([]picture{one, two})

	want := `
         │ one                        │ two
  ───────┼────────────────────────────┼───────────────────────────
  Ada    │ ● online         12 unread │ ● online         12 unread
  Bob    │ ○ seen 13:14:15            │ ○ seen 13:14:15  1 unread  ≠
  Dan    │ ● online                   │                            ≠
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	if got, want := one.String(), "Ada+12 Bob-0 Dan+0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	if err := differences([]picture{one, two}, []string{"same", "same"}); err == nil {
		t.Error("pictures that differ pass for the same")
	}

	if err := differences([]picture{one, two}, []string{"this", "that"}); err != nil {
		t.Error(err)
	}
}

func TestUnknownSample(t *testing.T) {
	t.Parallel()

	err := run(t.Context(), io.Discard, options{sample: "crat"})
	if err == nil || !strings.Contains(err.Error(), "choose one of cart, presence") {
		t.Errorf("got %v", err)
	}
}
