package kin

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/dapr-entities/entities/actors"
)

// What is kept of others is bounded: any app that can invoke actors can report.
const (
	maxReports  = 1000
	maxRivals   = 10
	maxText     = 256
	maxValidity = 10 * time.Minute
)

const contentType = "application/json"

// report says which journal a host has. Fields that are not known are ignored.
type report struct {
	Incarnation string `json:"incarnation"`
	Name        string `json:"name"`
	Journal     string `json:"journal,omitempty"`
	// Valid is in milliseconds from now. 0 takes the report back.
	Valid int64 `json:"validMillis"`
}

// answer names hosts that reported another journal, without their journals' ids.
type answer struct {
	Rivals []report `json:"rivals"`
}

func (r report) check() error {
	for _, text := range []string{r.Incarnation, r.Name, r.Journal} {
		if len(text) > maxText || strings.ContainsFunc(text, unicode.IsControl) {
			return errors.New("a text is too long or contains control characters")
		}
	}
	switch {
	case r.Incarnation == "" || r.Name == "":
		return errors.New("the incarnation or the name is missing")
	case r.Valid < 0 || r.Valid > maxValidity.Milliseconds():
		return errors.New("validMillis is out of range")
	}
	return nil
}

// reports are those made at the actors that are placed here.
type reports struct {
	mu   sync.Mutex
	list []reported
}

type reported struct {
	app string
	report
	until time.Time
}

// add replaces the incarnation's report and returns those of its rivals, the newest first. full says that there is no
// room.
func (s *reports) add(app string, r report) (rivals []report, full bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(o reported) bool {
		return now.After(o.until) || o.app == app && o.Incarnation == r.Incarnation
	})
	if r.Valid == 0 {
		return nil, false
	}
	if len(s.list) >= maxReports {
		return nil, true
	}
	for _, o := range slices.Backward(s.list) {
		if o.app == app && o.Journal != r.Journal && len(rivals) < maxRivals {
			rivals = append(rivals, report{Incarnation: o.Incarnation, Name: o.Name, Valid: o.until.Sub(now).Milliseconds()})
		}
	}
	s.list = append(s.list, reported{app, r, now.Add(time.Duration(r.Valid) * time.Millisecond)})
	return rivals, false
}

func (s *reports) forget(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(o reported) bool { return o.app == app })
}

func (s *reports) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

// Handle takes a report at the actor of the app id that the command's Ref names, which need not be this host's own.
func (k *Kin) Handle(_ context.Context, c actors.Command) (actors.Outcome, error) {
	if c.Method != method {
		return actors.Outcome{}, actors.Errorf(actors.Unimplemented, "%s has no method but %s", c.Ref, method)
	}
	var r report
	err := json.Unmarshal(c.Payload.Data, &r)
	if err == nil {
		if err = r.check(); err == nil && r.Journal == "" {
			err = errors.New("the journal is missing")
		}
	}
	if err != nil {
		return actors.Outcome{}, actors.Errorf(actors.InvalidArgument, "%s of %s: the report is not valid: %v", c.Method, c.Ref, err)
	}
	rivals, full := k.reports.add(c.ID, r)
	if full {
		return actors.Outcome{}, actors.Errorf(actors.ResourceExhausted, "%s of %s: there are %d reports already",
			c.Method, c.Ref, maxReports)
	}
	// If one of them is this host, it should not have to wait to be told.
	if slices.ContainsFunc(rivals, func(o report) bool { return o.Incarnation == k.config.Incarnation }) && len(k.names()) == 0 {
		k.change()
	}
	data, err := json.Marshal(answer{Rivals: rivals})
	if err != nil {
		return actors.Outcome{}, err
	}
	return actors.Outcome{Reply: &actors.Payload{ContentType: contentType, Data: data}}, nil
}

// Own says that reports may come.
func (k *Kin) Own(actors.Ref) {}

// Disown says that the actor may be elsewhere from now on: what was reported here is of no use any more.
func (k *Kin) Disown(r actors.Ref) {
	k.reports.forget(r.ID)
	k.change()
}

// DisownAll says so of all actors.
func (k *Kin) DisownAll() {
	k.reports.clear()
	k.change()
}
