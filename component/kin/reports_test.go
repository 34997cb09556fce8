package kin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
)

func TestReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s reports
		add := func(app, incarnation, journal string, valid time.Duration) (rivals []string) {
			t.Helper()
			list, full := s.add(app, report{incarnation, "host " + incarnation, journal, valid.Milliseconds()})
			if full {
				t.Fatal("full")
			}
			for _, r := range list {
				rivals = append(rivals, fmt.Sprintf("%s %d", r.Incarnation, r.Valid))
			}
			return rivals
		}
		check := func(want string, got []string) {
			t.Helper()
			if g := strings.Join(got, ", "); g != want {
				t.Errorf("rivals %q, want %q", g, want)
			}
		}
		check("", add("shop", "a", "one", 10*time.Second))
		check("", add("shop", "b", "one", 10*time.Second))
		check("", add("bank", "c", "two", 10*time.Second))
		time.Sleep(4 * time.Second)
		check("b 6000, a 6000", add("shop", "d", "two", 10*time.Second))
		check("d 10000", add("shop", "a", "one", time.Second))
		check("", add("shop", "b", "two", 0))
		time.Sleep(1001 * time.Millisecond)
		check("", add("shop", "d", "two", 10*time.Second))
		check("d 10000", add("shop", "a", "one", time.Minute))
		s.forget("shop")
		check("", add("shop", "d", "two", 10*time.Second))
		if len(s.list) != 2 {
			t.Errorf("kept %+v", s.list)
		}
		s.clear()
		for i := range maxReports {
			add("shop", fmt.Sprint(i), fmt.Sprint(i), time.Minute)
		}
		if got := add("shop", "7", "7", time.Minute); len(got) != maxRivals {
			t.Errorf("%d rivals", len(got))
		}
		if _, full := s.add("shop", report{"x", "x", "x", 1}); !full {
			t.Error("no limit")
		}
		time.Sleep(time.Minute + time.Millisecond)
		check("", add("shop", "x", "x", time.Minute))
	})
}

func TestBadReports(t *testing.T) {
	t.Parallel()
	k := someKin(t)
	for _, c := range []struct {
		method, data string
		code         actors.Code
	}{
		{"Compare", `{"incarnation":"i","name":"n","journal":"j","validMillis":1000,"later":true}`, actors.OK},
		{"Other", `{}`, actors.Unimplemented},
		{"Compare", ``, actors.InvalidArgument},
		{"Compare", `[]`, actors.InvalidArgument},
		{"Compare", `{"incarnation":"i","name":"n","validMillis":1000}`, actors.InvalidArgument},
		{"Compare", `{"name":"n","journal":"j","validMillis":1000}`, actors.InvalidArgument},
		{"Compare", `{"incarnation":"i","journal":"j","validMillis":1000}`, actors.InvalidArgument},
		{"Compare", `{"incarnation":"i","name":"a\nb","journal":"j","validMillis":1000}`, actors.InvalidArgument},
		{"Compare", `{"incarnation":"i","name":"` + strings.Repeat("n", maxText+1) + `","journal":"j","validMillis":1}`, actors.InvalidArgument},
		{"Compare", `{"incarnation":"i","name":"n","journal":"j","validMillis":-1}`, actors.InvalidArgument},
		{"Compare", `{"incarnation":"i","name":"n","journal":"j","validMillis":600001}`, actors.InvalidArgument},
	} {
		_, err := k.Handle(t.Context(), actors.Command{
			Ref: actors.Ref{Service: "Meeting", ID: "shop"}, Method: c.method, Payload: actors.Payload{Data: []byte(c.data)},
		})
		if code := actors.CodeOf(err); code != c.code {
			t.Errorf("%s %s: %v, %v", c.method, c.data, code, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Interval: time.Hour, Name: strings.Repeat("x", maxText+1)})
	for _, want := range []string{"ActorType", "Incarnation", "AppID", "Journal", "Hosting", "Remote", "interval", "longer than 256"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// Whatever is reported, the answer is a valid one, and so is what a host makes of an answer.
func FuzzHandle(f *testing.F) {
	f.Add([]byte(`{"incarnation":"i","name":"n","journal":"j","validMillis":1000}`))
	f.Add([]byte(`{"incarnation":"\u0000","validMillis":1e99}`))
	f.Add([]byte(`{"rivals":[{"incarnation":"i","name":"n","validMillis":1000}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k := someKin(t)
		o, err := k.Handle(t.Context(), actors.Command{Method: method, Payload: actors.Payload{Data: data}})
		if err == nil && !json.Valid(o.Reply.Data) {
			t.Errorf("answered %q", o.Reply.Data)
		}
		var a answer
		if json.Unmarshal(data, &a) == nil {
			k.learn(a)
			if err := k.Ready(); err != nil && len(err.Error()) > (maxRivals+2)*maxText {
				t.Errorf("a verdict of %d bytes", len(err.Error()))
			}
		}
	})
}

func someKin(t testing.TB) *Kin {
	t.Helper()
	w := &town{}
	k, err := New(Config{
		ActorType: "Meeting", Incarnation: "me", Name: "host", Remote: w, AppID: w.text, Journal: w.text,
		Hosting: func() error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}
