package admin

import (
	"net"
	"net/http"
	"net/netip"
)

// Operations serves a handler of operations on the journal at a path and below it. Unless everybody may, only callers on this
// machine may: the address may have been opened for a scraper of metrics, who has no business with entities. It is called
// before Handler and Run.
func (s *Server) Operations(path string, everybody bool, h http.Handler) {
	if !everybody {
		h = local(h)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.operationsPath, s.operations = path, h
}

// local lets callers on this machine pass. A web page whose name was made to point at this machine is none of them: its
// requests have that name.
func local(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "operations on the journal are carried out for callers on this machine only: use kubectl exec or kubectl port-forward, or set operations to all", http.StatusForbidden)
			return
		}
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			http.Error(w, "name the component by its IP address, or as localhost", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
