package eventing

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// flaky fails a number of times.
type flaky struct {
	left int
	err  error
	keys []string
}

func (f *flaky) Handle(_ context.Context, c actors.Command) (actors.Outcome, error) {
	f.keys = append(f.keys, c.Key)
	if f.left--; f.left >= 0 {
		return actors.Outcome{}, f.err
	}
	return actors.Outcome{}, nil
}

func (f *flaky) Stream(context.Context, actors.Command, func() (actors.Input, error), func(actors.Outcome) error) error {
	return errors.New("not streamed")
}

func TestSubscriber(t *testing.T) {
	t.Parallel()
	topic := consumer(t, nil, &cloudstate.Method{Name: "Added", Input: "added", Eventing: &cloudstate.Eventing{
		In: &cloudstate.EventSource{Source: &cloudstate.EventSource_Topic{Topic: "added"}},
	}})
	event := CloudEvent{ID: "1", Source: "s", Type: "added", SpecVersion: "1.0", ContentType: "application/json", Data: []byte(`{"a":1}`)}
	later := actors.Errorf(actors.Unavailable, "later")
	for name, c := range map[string]struct {
		fails  int
		err    error
		tries  int
		parked bool
	}{
		"at once":     {0, nil, 1, false},
		"at last":     {2, later, 3, false},
		"too often":   {3, later, 3, true},
		"never":       {1, actors.Errorf(actors.InvalidArgument, "no"), 1, true},
		"without why": {3, errors.New("what"), 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := memory.Open()
				defer j.Close()
				told := 0
				s := Subscriber{Cells: j, MaxTries: 3, Log: slog.New(slog.DiscardHandler), Parked: func(group, topic string, _ error) {
					if group == "shop.v1.View" && topic == "added" {
						told++
					}
				}}
				f := &flaky{left: c.fails, err: c.err}
				x := Consumption{Consumer: topic, Commands: f}
				began := time.Now()
				if err := s.Consume(t.Context(), x, event); err != nil {
					t.Fatal(err)
				}
				if len(f.keys) != c.tries || f.keys[0] != f.keys[c.tries-1] {
					t.Errorf("tried with the keys %v", f.keys)
				}
				if took := time.Since(began); c.tries > 1 && took < 50*time.Millisecond || took > time.Second {
					t.Errorf("took %v", took)
				}
				list, err := s.List(t.Context(), "", 10)
				if err != nil || len(list) == 1 != c.parked || told == 1 != c.parked {
					t.Fatalf("parked %v (told %d times), %v", list, told, err)
				}
				if !c.parked {
					return
				}
				p := list[0]
				if p.Group != "shop.v1.View" || p.Topic != "added" || p.Tries != c.tries || !strings.Contains(string(p.Event), `"a":1`) || p.Problem == "" {
					t.Errorf("parked %+v", p)
				}
				find := func(string, string) (Consumption, bool) { return x, true }
				f.left = 1
				if err := s.Release(t.Context(), p.Key, find); err == nil {
					t.Error("released, although it failed again")
				}
				if err := s.Release(t.Context(), p.Key, func(string, string) (Consumption, bool) { return x, false }); err == nil {
					t.Error("released to nobody")
				}
				if err := s.Release(t.Context(), p.Key, find); err != nil || f.keys[len(f.keys)-1] != f.keys[0] {
					t.Errorf("released with %v, %v", f.keys, err)
				}
				if list, err := s.List(t.Context(), "", 10); err != nil || len(list) != 0 {
					t.Errorf("still parked: %v, %v", list, err)
				}
				for _, forget := range []func() error{
					func() error { return s.Discard(t.Context(), p.Key) },
					func() error { return s.Release(t.Context(), p.Key, find) },
				} {
					if err := forget(); err != nil {
						t.Errorf("what is not there: %v", err)
					}
				}
			})
		})
	}
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			j := memory.Open()
			defer j.Close()
			err := Subscriber{Cells: j, MaxTries: 1000}.Consume(ctx, Consumption{Consumer: topic, Commands: &flaky{left: 1 << 30, err: later}}, event)
			if !errors.Is(err, later) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		j := memory.Open()
		defer j.Close()
		s := Subscriber{Cells: j, MaxTries: 1, Log: slog.New(slog.DiscardHandler)}
		for range 2 {
			if err := s.Consume(t.Context(), Consumption{Consumer: topic, Commands: &flaky{left: 1, err: later}}, event); err != nil {
				t.Fatal(err)
			}
		}
		if list, err := s.List(t.Context(), "", 10); err != nil || len(list) != 1 {
			t.Errorf("parked %v, %v", list, err)
		}
	})
}
