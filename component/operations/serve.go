package operations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Path is where Handler is to be served: everything below it.
const Path = "/journal/"

// callTimeout bounds what one call may take; each is a page, or a write of one.
const callTimeout = 2 * time.Minute

// Handler serves a journal to Client.
type Handler struct {
	// Journal returns the one that there is, or why there is none.
	Journal func() (Journal, error)
	// MaxBody is the size of the largest request. Defaults to 64 MiB.
	MaxBody int64
	// Logger is told of what callers are not told. Defaults to slog.Default.
	Logger *slog.Logger
}

// methods of Journal, by their paths.
var methods = map[string]func(ctx context.Context, j Journal, in *request, out *response) error{
	"about": func(ctx context.Context, j Journal, _ *request, out *response) error {
		a, err := j.About(ctx)
		out.About = &a
		return err
	},
	"services": func(ctx context.Context, j Journal, _ *request, out *response) (err error) {
		out.Services, err = j.Services(ctx)
		return err
	},
	"list": func(ctx context.Context, j Journal, in *request, out *response) error {
		list, err := j.List(ctx, in.Service, in.After, in.Limit)
		for _, s := range list {
			out.Entities = append(out.Entities, Entity{in.Service, s.ID, s.Sequence, s.Updated})
		}
		return err
	},
	"span": func(ctx context.Context, j Journal, in *request, out *response) error {
		s, err := j.Span(ctx, in.ref())
		f := streamOf(in.ref(), s)
		out.Stream = &f
		return err
	},
	"snapshot": func(ctx context.Context, j Journal, in *request, out *response) error {
		s, err := j.Snapshot(ctx, in.ref())
		if s != nil {
			out.Snapshot = &snapshotForm{s.Sequence, payloadOf(s.Payload)}
		}
		return err
	},
	"events": func(ctx context.Context, j Journal, in *request, out *response) error {
		list, err := j.Events(ctx, in.ref(), in.Sequence, in.Limit)
		out.Events = placed(list)
		return err
	},
	"tail": func(ctx context.Context, j Journal, in *request, out *response) error {
		list, at, err := j.Tail(ctx, in.Services, journal.Position(in.Position), in.Limit)
		out.Events, out.Position = placed(list), positionForm(at)
		return err
	},
	"blocked": func(ctx context.Context, j Journal, _ *request, out *response) (err error) {
		out.Blocked, err = j.Blocked(ctx)
		return err
	},
	"render": func(ctx context.Context, j Journal, in *request, out *response) (err error) {
		payloads := make([]actors.Payload, len(in.Payloads))
		for i, p := range in.Payloads {
			payloads[i] = p.payload()
		}
		out.Rendered, err = j.Render(ctx, payloads)
		return err
	},
	"records": func(ctx context.Context, j Journal, in *request, out *response) error {
		list, err := j.Records(ctx, in.ref(), in.After, in.Limit)
		for i := range list {
			out.Records = append(out.Records, recordOf(&list[i]))
		}
		return err
	},
	"kept": func(ctx context.Context, j Journal, in *request, out *response) error {
		list, next, err := j.Kept(ctx, in.After, in.Limit)
		for i := range list {
			out.Effects = append(out.Effects, effectOf(&list[i]))
		}
		out.Next = next
		return err
	},
	"cells": func(ctx context.Context, j Journal, in *request, out *response) error {
		list, err := j.Cells(ctx, in.Prefix, in.After, in.Limit)
		for _, c := range list {
			out.Cells = append(out.Cells, placedCell{cellForm{c.Key, c.Value}, c.Version})
		}
		return err
	},
	"restore": func(ctx context.Context, j Journal, in *request, _ *response) error {
		r, err := in.restored()
		if err != nil {
			return err
		}
		return j.Restore(ctx, r)
	},
	"forget": func(ctx context.Context, j Journal, in *request, _ *response) error {
		return j.Forget(ctx, in.ref(), in.Sequence)
	},
	"keep": func(ctx context.Context, j Journal, in *request, _ *response) error {
		var list []journal.Kept
		for i := range in.Effects {
			list = append(list, in.Effects[i].kept())
		}
		return j.Keep(ctx, list)
	},
	"put": func(ctx context.Context, j Journal, in *request, out *response) (err error) {
		if in.Cell == nil {
			return actors.Errorf(actors.InvalidArgument, "no cell is given")
		}
		out.Version, err = j.Put(ctx, journal.Cell{Key: in.Cell.Key, Value: in.Cell.Value, Version: in.Sequence})
		return err
	},
	"erase": func(ctx context.Context, j Journal, in *request, _ *response) error { return j.Erase(ctx, in.ref()) },
}

func (r *request) restored() (journal.Restored, error) {
	if r.Stream == nil {
		return journal.Restored{}, actors.Errorf(actors.InvalidArgument, "no stream is given")
	}
	out := journal.Restored{Ref: r.Stream.ref(), Span: r.Stream.span()}
	for i := range r.Events {
		out.Events = append(out.Events, r.Events[i].event())
	}
	for i := range r.Records {
		record, err := r.Records[i].record()
		if err != nil {
			return out, actors.Errorf(actors.InvalidArgument, "%w", err)
		}
		out.Records = append(out.Records, record)
	}
	if s := r.Snapshot; s != nil {
		out.Snapshot = &journal.Snapshot{Sequence: s.Sequence, Payload: s.payload()}
	}
	return out, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, Path)
	method, ok := methods[name]
	switch media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case !ok:
		http.Error(w, "there is no such operation; there are "+strings.Join(slices.Sorted(maps.Keys(methods)), ", "), http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "send a POST", http.StatusMethodNotAllowed)
		return
	case media != "application/json": // which keeps the forms of foreign web pages out
		http.Error(w, "send JSON with the content type application/json", http.StatusUnsupportedMediaType)
		return
	}
	// The server's own timeouts are for small requests.
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(callTimeout)) // a recorder of tests has none
	_ = c.SetWriteDeadline(time.Now().Add(2 * callTimeout))
	most := h.MaxBody
	if most <= 0 {
		most = 64 << 20
	}
	var in request
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		status, text := http.StatusBadRequest, "the request is not one of this release; use an entities command of the component's version"
		if _, big := errors.AsType[*http.MaxBytesError](err); big {
			status, text = http.StatusRequestEntityTooLarge, "the request is too large"
		}
		http.Error(w, text, status)
		return
	}
	j, err := h.Journal()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	var out response
	if err := method(ctx, j, &in, &out); err != nil {
		form, tell := errorOf(err)
		if !tell {
			h.logger().Error("operate on the journal", "operation", name, "error", err)
			http.Error(w, "the journal cannot be read or written to; the component's log says why", http.StatusServiceUnavailable)
			return
		}
		out.Error = form
	}
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(&out); err != nil {
		h.logger().Error("operate on the journal", "operation", name, "error", err)
		http.Error(w, "the answer cannot be written as JSON; the component's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body.Bytes()) // whoever asked may have gone
}

func (h *Handler) logger() *slog.Logger {
	if h.Logger == nil {
		return slog.Default()
	}
	return h.Logger
}
