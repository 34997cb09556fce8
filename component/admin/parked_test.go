package admin

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// shelf is what is parked, in memory.
type shelf struct {
	items    []ParkedItem
	released []string
	err      error
}

func (s *shelf) List(_ context.Context, after string, limit int) ([]ParkedItem, error) {
	var list []ParkedItem
	for _, i := range s.items {
		if i.ID > after && len(list) < limit {
			list = append(list, i)
		}
	}
	return list, s.err
}

func (s *shelf) Release(_ context.Context, ids []string) error {
	s.released = append(s.released, ids...)
	return s.err
}

func (s *shelf) Discard(_ context.Context, ids []string) error {
	s.items = slices.DeleteFunc(s.items, func(i ParkedItem) bool { return slices.Contains(ids, i.ID) })
	return s.err
}

func TestParked(t *testing.T) {
	t.Parallel()
	server, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	handler := server.Handler()
	ask := func(method, path, contentType, body string) (int, string) {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if code, body := ask("GET", "/parked", "", ""); code != 503 || !strings.Contains(body, "no journal") {
		t.Errorf("without a host: %d %s", code, body)
	}
	s := &shelf{items: []ParkedItem{{ID: "effect/1", Kind: "effect", Problem: "no"}, {ID: "event/2", Kind: "event"}}}
	server.Parked(func() Parked { return s })
	if code, body := ask("GET", "/parked?limit=1", "", ""); code != 200 || !strings.Contains(body, `"id":"effect/1"`) || strings.Contains(body, "event/2") {
		t.Errorf("list: %d %s", code, body)
	}
	if code, body := ask("GET", "/parked?after=event/2", "", ""); code != 200 || strings.TrimSpace(body) != `{"parked":[]}` {
		t.Errorf("empty list: %d %s", code, body)
	}
	for _, c := range []struct {
		method, path, contentType, body string
		want                            int
	}{
		{"GET", "/parked?limit=0", "", "", 400},
		{"GET", "/parked?limit=x", "", "", 400},
		{"GET", "/parked/release", "", "", 405},
		{"POST", "/parked/release", "application/x-www-form-urlencoded", "ids=1", 415},
		{"POST", "/parked/release", "", `{"ids":["effect/1"]}`, 415},
		{"POST", "/parked/release", "application/json", `{"ids":[]}`, 400},
		{"POST", "/parked/release", "application/json", `{"id":"x"}`, 400},
		{"POST", "/parked/release", "application/json", `{"ids":["` + strings.Repeat("x", maxBody) + `"]}`, 400},
		{"POST", "/parked/release", "application/json", `{"ids":["effect/1"]}`, 204},
		{"POST", "/parked/discard", "application/json; charset=utf-8", `{"ids":["event/2"]}`, 204},
	} {
		if code, body := ask(c.method, c.path, c.contentType, c.body); code != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, code, body, c.want)
		}
	}
	if !slices.Equal(s.released, []string{"effect/1"}) || len(s.items) != 1 {
		t.Errorf("released %v, left %v", s.released, s.items)
	}
	s.err = errors.New("secret")
	for _, path := range []string{"/parked/release", "/parked/discard"} {
		if code, body := ask("POST", path, "application/json", `{"ids":["x"]}`); code != 503 || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := ask("GET", "/parked", "", ""); code != 503 || strings.Contains(body, "secret") {
		t.Errorf("list: %d %s", code, body)
	}
}
