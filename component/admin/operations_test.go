package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOperations(t *testing.T) {
	t.Parallel()
	done := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := r.Body.Read(make([]byte, 2<<20))
		if n == 0 {
			t.Error("nothing of the body comes")
		}
		w.WriteHeader(http.StatusNoContent)
	})
	for _, c := range []struct {
		everybody  bool
		from, host string
		want       int
	}{
		{false, "127.0.0.1:4711", "127.0.0.1:9095", 204},
		{false, "[::1]:4711", "localhost:9095", 204},
		{false, "[::ffff:127.0.0.1]:4711", "localhost", 204},
		{false, "10.0.0.7:4711", "10.0.0.8:9095", 403},
		{false, "127.0.0.1:4711", "evil.example.com:9095", 403},
		{false, "@", "localhost", 403},
		{true, "10.0.0.7:4711", "entities.svc:9095", 204},
	} {
		s := newServer(t, Config{})
		s.Operations("/journal/", c.everybody, done)
		r := httptest.NewRequest(http.MethodPost, "/journal/about", strings.NewReader("{}"))
		r.RemoteAddr, r.Host = c.from, c.host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
	if code, _ := get(newServer(t, Config{}), "/journal/about"); code != http.StatusNotFound {
		t.Errorf("without operations: %d", code)
	}
}
