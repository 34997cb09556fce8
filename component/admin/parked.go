package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// Parked is what was given up after too many tries: effects that could not be carried out, and events that could not be
// delivered. Ids are the ones that List gives; unknown ones are ignored.
type Parked interface {
	// List returns up to limit items with ids greater than after, in the order of their ids.
	List(ctx context.Context, after string, limit int) ([]ParkedItem, error)
	// Release has them tried again.
	Release(ctx context.Context, ids []string) error
	// Discard forgets them.
	Discard(ctx context.Context, ids []string) error
}

// ParkedItem is one of them. It holds no payload.
type ParkedItem struct {
	ID string `json:"id"`
	// Kind is effect or event.
	Kind string `json:"kind"`
	// From whom it comes, as service/id of the journal.
	Source string `json:"source"`
	// Target is the command that could not be carried out, as service/id.method, or the consumer group of an event.
	Target  string    `json:"target"`
	Tries   int       `json:"tries"`
	Problem string    `json:"problem"`
	Since   time.Time `json:"since"`
}

// How many items one answer has, unless asked otherwise, and at most.
const (
	parkedLimit    = 100
	parkedMaxLimit = 1000
)

// maxParkedIDs is how many items one request may change.
const maxParkedIDs = 1000

// errNoParked is for a component without a host, or a host without a journal.
var errNoParked = errors.New("there is no journal here, so nothing is parked")

// Parked says where to find what was given up; the function returns nil while there is nothing to ask.
func (s *Server) Parked(find func() Parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parked = find
}

func (s *Server) findParked() (Parked, error) {
	s.mu.RLock()
	find := s.parked
	s.mu.RUnlock()
	if find != nil {
		if p := find(); p != nil {
			return p, nil
		}
	}
	return nil, errNoParked
}

func (s *Server) listParked(w http.ResponseWriter, r *http.Request) {
	limit := parkedLimit
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > parkedMaxLimit {
			http.Error(w, fmt.Sprintf("limit is not a number from 1 to %d", parkedMaxLimit), http.StatusBadRequest)
			return
		}
		limit = n
	}
	p, err := s.findParked()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	items, err := p.List(r.Context(), r.URL.Query().Get("after"), limit)
	if err != nil {
		s.config.Logger.Error("list what is parked", "error", err)
		http.Error(w, "the journal cannot be read; the log says why", http.StatusServiceUnavailable)
		return
	}
	if items == nil {
		items = []ParkedItem{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{"parked": items}) // whoever asked may have gone
}

// changeParked takes {"ids": [...]}. The content type keeps the forms of foreign web pages out.
func (s *Server) changeParked(what string, change func(Parked, context.Context, []string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			IDs []string `json:"ids"`
		}
		media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || media != "application/json" {
			http.Error(w, "send JSON with the content type application/json", http.StatusUnsupportedMediaType)
			return
		}
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&body); err != nil || len(body.IDs) == 0 || len(body.IDs) > maxParkedIDs {
			http.Error(w, fmt.Sprintf(`send {"ids": [...]} with 1 to %d ids, as GET /parked lists them`, maxParkedIDs), http.StatusBadRequest)
			return
		}
		p, err := s.findParked()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if err := change(p, r.Context(), body.IDs); err != nil {
			s.config.Logger.Error(what+" what was parked", "error", err)
			http.Error(w, "the journal cannot be written to; the log says why", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
