// Package admin is what operators and their tools see: health and metrics over HTTP, on an address that is local unless
// it is told otherwise.
//
//	GET /healthz       200 while the process lives
//	GET /readyz        200 if every check is ok, else 503; the body names each with its reason
//	GET /metrics       Prometheus
//	GET /parked        effects and events that were given up; POST /parked/release and /parked/discard take {"ids": [...]}
//	POST /journal/…    operations on the journal, for the entities command; not for callers from elsewhere, unless they are let
//	GET /debug/pprof/  Go profiles, if they are turned on
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"sync"
	"time"
)

// Config of a Server.
type Config struct {
	// Address is host:port. Defaults to 127.0.0.1:0, a free port.
	Address string
	// Pprof serves Go profiles too.
	Pprof bool
	// Metrics defaults to NewMetrics(): none are ever fed.
	Metrics *Metrics
	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Server serves it. Its methods may be called from many goroutines at once.
type Server struct {
	config Config
	ready  chan struct{}

	mu      sync.RWMutex
	address string
	checks  map[string]func() error
	parked  func() Parked
	// operations are served at a path, if there are any.
	operations     http.Handler
	operationsPath string
}

// New makes a server that is not running.
func New(c Config) (*Server, error) {
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, fmt.Errorf("the admin address %q is not host:port", c.Address)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Server{config: c, ready: make(chan struct{}), checks: map[string]func() error{}}, nil
}

// Check adds a check to readiness, or replaces the one with that name; nil takes it away. The function answers at once,
// from what is known: it is called whenever somebody asks. What it returns is shown to whoever can reach the address.
func (s *Server) Check(name string, check func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if check == nil {
		delete(s.checks, name)
	} else {
		s.checks[name] = check
	}
}

// Address is where it listens, once Ready is closed.
func (s *Server) Address() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.address
}

// Ready is closed when it listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// stopTimeout is what requests get to end when Run is told to stop. None of ours takes long.
const stopTimeout = 2 * time.Second

// Run serves until ctx ends. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", s.config.Address)
	if err != nil {
		return fmt.Errorf("listen on the admin address: %w; set adminAddress to another one or to off", err)
	}
	h := &http.Server{
		Handler: s.Handler(),
		// Enough for a slow scraper and too little for one that only holds on.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
	if !s.config.Pprof { // a profile takes as long as is asked for
		h.WriteTimeout = 30 * time.Second
	}
	s.mu.Lock()
	s.address = l.Addr().String()
	s.mu.Unlock()
	close(s.ready)
	s.config.Logger.Info("serving health and metrics", "address", s.Address())
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }() // Run waits for it
	select {
	case err := <-served:
		return fmt.Errorf("serve the admin address: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := h.Shutdown(stop); err != nil {
		h.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin address: %w", err)
	}
	return nil
}

// maxBody is room for the ids that one request may change.
const maxBody = 1 << 20

// Handler serves the paths of the package.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.config.Metrics.Handler())
	mux.HandleFunc("GET /parked", s.listParked)
	mux.HandleFunc("POST /parked/release", s.changeParked("release", Parked.Release))
	mux.HandleFunc("POST /parked/discard", s.changeParked("discard", Parked.Discard))
	if s.config.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.operations == nil {
		return http.MaxBytesHandler(mux, maxBody)
	}
	all := http.NewServeMux()
	all.Handle("/", http.MaxBytesHandler(mux, maxBody))
	all.Handle(s.operationsPath, s.operations) // which bounds its own requests
	return all
}

// readiness is the body of /readyz.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"`
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	s.mu.RLock()
	checks := maps.Clone(s.checks)
	s.mu.RUnlock()
	r := readiness{Ready: true, Checks: map[string]string{}}
	for name, check := range checks {
		r.Checks[name] = "ok"
		if err := s.ask(name, check); err != nil {
			r.Ready, r.Checks[name] = false, err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !r.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(r) // whoever asked may have gone
}

// ask takes a panic of a check for a failure of that check.
func (s *Server) ask(name string, check func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.config.Logger.Error("panic in a check", "check", name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("the check itself failed; the log has the stack")
		}
	}()
	return check()
}
