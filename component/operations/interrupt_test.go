package operations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors/journal"
)

// short writes so many bytes and then fails, as a full disk does.
type short struct {
	to   io.Writer
	left int
}

var errDisk = errors.New("no space left on device")

func (s *short) Write(b []byte) (int, error) {
	if len(b) > s.left {
		n, _ := s.to.Write(b[:s.left])
		s.left = 0
		return n, errDisk
	}
	s.left -= len(b)
	return s.to.Write(b)
}

// An export that is cut off anywhere, and gone on with as often as need be, is the same as one that was not.
func TestExportResumes(t *testing.T) {
	t.Parallel()
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := open(t)
			fill(t, source.Of, 6)
			want := exported(t, source)
			rapid.Check(t, func(r *rapid.T) {
				var file bytes.Buffer
				for cuts := rapid.IntRange(1, 3).Draw(r, "cuts"); ; cuts-- {
					rest, err := Resume(bytes.NewReader(file.Bytes()))
					if err != nil {
						r.Fatal(err)
					}
					file.Truncate(int(rest.Bytes))
					if rest.Bytes == 0 {
						rest = nil
					}
					room := len(want)
					if cuts > 0 {
						room = rapid.IntRange(0, len(want)).Draw(r, "room")
					}
					_, err = Exporting{From: source, Name: "same"}.Export(t.Context(), &short{&file, room}, rest)
					if cuts == 0 || err == nil {
						if err != nil {
							r.Fatal(err)
						}
						break
					}
					if !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "write line ") {
						r.Fatal(err)
					}
				}
				if diff := cmp.Diff(histories(t, want), histories(t, file.String())); diff != "" {
					r.Fatal(diff)
				}
				if s, err := (Importing{}).Import(t.Context(), &file); err != nil || s.Counts[kindEvent] == 0 {
					r.Fatal(err)
				}
			})
		})
	}
}

// failing is a journal that fails the n-th write, before it is done or after.
type failing struct {
	Journal
	left  atomic.Int64
	after bool
}

var errKilled = errors.New("killed")

func (f *failing) write(do func() error) error {
	if f.left.Add(-1) != 0 {
		return do()
	}
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errKilled
}

func (f *failing) Restore(ctx context.Context, r journal.Restored) error {
	return f.write(func() error { return f.Journal.Restore(ctx, r) })
}

func (f *failing) Keep(ctx context.Context, effects []journal.Kept) error {
	return f.write(func() error { return f.Journal.Keep(ctx, effects) })
}

func (f *failing) Put(ctx context.Context, c journal.Cell) (version int64, err error) {
	err = f.write(func() error {
		version, err = f.Journal.Put(ctx, c)
		return err
	})
	return version, err
}

// An import that ends at any of its writes, before or after it, and is repeated, comes to the same.
func TestImportResumes(t *testing.T) {
	t.Parallel()
	source := backends["memory"](t)
	fill(t, source.Of, 6)
	export := exported(t, source)
	want := sorted(histories(t, export))
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := open(t)
			for at, done := int64(1), false; !done; at++ {
				for _, after := range []bool{false, true} {
					f := &failing{Journal: target, after: after}
					f.left.Store(at)
					_, err := Importing{To: f}.Import(t.Context(), strings.NewReader(export))
					if done = err == nil; !done && !errors.Is(err, errKilled) {
						t.Fatal(err)
					}
				}
			}
			if diff := cmp.Diff(want, sorted(histories(t, exported(t, target)))); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("anew each time", func(t *testing.T) {
		t.Parallel()
		for at, done := int64(1), false; !done; at++ {
			for _, after := range []bool{false, true} {
				target := backends["memory"](t)
				f := &failing{Journal: target, after: after}
				f.left.Store(at)
				if _, err := (Importing{To: f}).Import(t.Context(), strings.NewReader(export)); err == nil {
					done = true
				}
				if _, err := (Importing{To: target}).Import(t.Context(), strings.NewReader(export)); err != nil {
					t.Fatal(at, after, err)
				}
				notLate(t, target)
				if diff := cmp.Diff(want, sorted(histories(t, exported(t, target)))); diff != "" {
					t.Fatal(at, after, diff)
				}
			}
		}
	})
}

// A component that has the journal open serves the same.
func TestClient(t *testing.T) {
	t.Parallel()
	source, target := backends["sqlite"](t), backends["memory"](t)
	fill(t, source.Of, 6)
	serve := func(j Journal) *Client {
		server := httptest.NewServer(&Handler{Journal: func() (Journal, error) { return j, nil }})
		t.Cleanup(server.Close)
		c, err := Dial(strings.TrimPrefix(server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	from, to := serve(source), serve(target)
	export := exported(t, from)
	if diff := cmp.Diff(histories(t, exported(t, source)), histories(t, export)); diff != "" {
		t.Error(diff)
	}
	if _, err := (Importing{To: to}).Import(t.Context(), strings.NewReader(export)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(histories(t, export)), sorted(histories(t, exported(t, target)))); diff != "" {
		t.Error(diff)
	}
	for _, j := range []Journal{source, from} {
		for _, ref := range refs {
			s, err := StateAt(t.Context(), j, ref, 0, "", 10)
			if err != nil || s.Newest == 0 {
				t.Error(s, err)
			}
			s, err = StateAt(t.Context(), j, ref, 1, "", 10)
			if erased := ref == refs[3] || ref.Service == refs[5].Service; erased && ref != refs[4] && !errors.Is(err, journal.ErrForgotten) || !erased && err != nil {
				t.Error(ref, s, err)
			}
			if _, err = StateAt(t.Context(), j, ref, 1000, "", 10); !NotFound(err) {
				t.Error(err)
			}
		}
		var list []string
		for e, err := range Tail(t.Context(), j, Filter{IDs: []string{"b/*"}, Names: []string{"added"}}) {
			list = append(list, fmt.Sprint(e.ID, " ", e.Sequence, " ", string(e.Data), err))
		}
		if len(list) != 6 || list[1] != `b/ü🍵 3 {"n":1,"html":"<&>"}<nil>` {
			t.Errorf("%q", list)
		}
	}
	left, err := Erase(t.Context(), to, refs[0])
	if err != nil || left.Sequence == 0 {
		t.Error(left, err)
	}
	if s, err := StateAt(t.Context(), to, refs[0], 0, "", 0); err != nil || !s.Erased {
		t.Error(s, err)
	}
	if _, err := Erase(t.Context(), to, Ref{Service: "no", ID: "no"}); !NotFound(err) {
		t.Error(err)
	}
}

// notLate looks whether a consumer misses nothing, whatever it gets once more.
func notLate(t *testing.T, target *Direct) {
	t.Helper()
	cell, err := target.Of.Cell(t.Context(), "cursor/g/shop.v1.Cart")
	if err != nil || cell.Version == 0 {
		t.Fatal(err)
	}
	_, at, _ := parsePlaced(cell.Value)
	events, _, err := target.Of.Tail(t.Context(), []string{"shop.v1.Cart"}, at, 0)
	if err != nil || !slices.ContainsFunc(events, func(e journal.Event) bool { return e.Ref == refs[1] && e.Sequence == 1 }) {
		t.Errorf("the consumer misses an event: it goes on with %+v, %v", events, err)
	}
}
