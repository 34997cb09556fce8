package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// shopping is the story that is told, and checked while it is.
type shopping struct {
	ctx   context.Context //nolint:containedctx // one story, one context
	print *printer
	dapr  *harness.Client
	cart  *harness.Process
}

// step is one request and what its reply has to be.
type step struct {
	title, note  string
	method, path string
	header       [][2]string
	body         string
	want         func(harness.Response) error
}

const (
	addBook   = `{"product":"book","name":"The Go Programming Language","quantity":2}`
	addPen    = `{"product":"pen","name":"Fountain pen","quantity":1}`
	addWrong  = `{"product":"pen","name":"Fountain pen","quantity":-1}`
	bookLine  = addBook
	penLine   = addPen
	wantBook  = `{"items":[` + bookLine + `]}`
	wantFull  = `{"items":[` + bookLine + `,` + penLine + `]}`
	retryKey  = "order-4711"
	cartID    = "cart-1"
	getBody   = `{}`
	keyHeader = "Idempotency-Key"
)

// tell tells the story up to its first surprise.
func (s *shopping) tell() error {
	keyed := [][2]string{{keyHeader, retryKey}}

	before := []step{
		{
			title: "An empty cart", note: "Nobody created it: an entity is there when it is called.",
			path: command("GetCart"), body: getBody, want: replies(`{"items":[]}`),
		},
		{
			title: "Put two books into it",
			path:  command("AddItem"), body: addBook, want: replies(wantBook),
		},
		{
			title: "A pen, with an idempotency key", note: "The key makes a retry safe.",
			path: command("AddItem"), header: keyed, body: addPen, want: replies(wantFull),
		},
		{
			title: "The same again, as a client does that lost the reply",
			note:  "The stored reply comes back; there is still one pen.",
			path:  command("AddItem"), header: keyed, body: addPen, want: replies(wantFull),
		},
		{
			title: "A mistake", note: "The handler refuses; its text reaches the caller, and nothing is stored.",
			path: command("AddItem"), body: addWrong, want: fails("pen", "-1"),
		},
	}

	for _, step := range before {
		if err := s.do(step); err != nil {
			return err
		}
	}

	if err := s.killCart(); err != nil {
		return err
	}

	for _, step := range []step{
		{
			title: "The cart is back", note: "The new process was sent the events of the old one.",
			path: command("GetCart"), body: getBody, want: replies(wantFull),
		},
		{
			title: "What happened to it", note: "The events as they are stored, through the Dapr binding.",
			method: http.MethodPost, path: "/v1.0/bindings/" + harness.BindingName,
			body: `{"operation":"history","metadata":{"service":"shop.v1.ShoppingCart","id":"` + cartID + `"}}`,
			want: tells("item-added", 2),
		},
	} {
		if err := s.do(step); err != nil {
			return err
		}
	}

	s.print.line("\nEvery reply was as expected.")

	return nil
}

func command(method string) string { return harness.ActorPath(actorType, cartID, method) }

// do sends one request, shows it with its reply, and compares.
func (s *shopping) do(step step) error {
	if step.method == "" {
		step.method = http.MethodPut
	}

	s.print.title(step.title)
	s.print.note(step.note)
	s.print.request(step)

	response, err := s.send(s.ctx, step)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.ToLower(step.title), err)
	}

	s.print.response(response)

	if err := step.want(response); err != nil {
		return fmt.Errorf("%s: unexpected reply: %w", strings.ToLower(step.title), err)
	}

	return nil
}

func (s *shopping) send(ctx context.Context, step step) (harness.Response, error) {
	header := map[string]string{"Content-Type": "application/json"}
	for _, pair := range step.header {
		header[pair[0]] = pair[1]
	}

	return s.dapr.Do(ctx, step.method, step.path, header, []byte(step.body))
}

// killCart kills the process that holds the cart in its memory and starts another.
func (s *shopping) killCart() error {
	s.print.title("Kill the cart's process")

	pid := s.cart.Pid()
	s.cart.Kill()
	s.print.shell(fmt.Sprintf("kill -9 %d", pid))

	if err := s.cart.Start(s.ctx); err != nil {
		return fmt.Errorf("start the cart again: %w", err)
	}

	s.print.note(fmt.Sprintf("It runs again, as process %d, and remembers nothing.", s.cart.Pid()))

	// The component notices and connects again; until then commands are refused, which is no news to a Dapr client.
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()

	return harness.Poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		response, err := s.send(ctx, step{method: http.MethodPut, path: command("GetCart"), body: getBody})
		if err != nil {
			return err
		}

		if !response.OK() {
			return fmt.Errorf("the cart does not come back: %d %s", response.Status, response.Body)
		}

		return nil
	})
}

// replies wants success and this JSON, whatever its spelling.
func replies(want string) func(harness.Response) error {
	return func(response harness.Response) error {
		if !response.OK() {
			return fmt.Errorf("status is %d, want success", response.Status)
		}

		var got, expected any
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			return fmt.Errorf("read the expectation %s: %w", want, err)
		}

		if err := json.Unmarshal(response.Body, &got); err != nil {
			return fmt.Errorf("reply %q is not JSON: %w", response.Body, err)
		}

		if !reflect.DeepEqual(got, expected) {
			return fmt.Errorf("got %s, want %s", response.Body, want)
		}

		return nil
	}
}

// fails wants a failure whose text has all the parts.
func fails(parts ...string) func(harness.Response) error {
	return func(response harness.Response) error {
		if response.OK() {
			return fmt.Errorf("status is %d, want a failure", response.Status)
		}

		for _, part := range parts {
			if !strings.Contains(string(response.Body), part) {
				return fmt.Errorf("the text %q does not say %q", response.Body, part)
			}
		}

		return nil
	}
}

// tells wants success and a text that has the word so many times.
func tells(word string, times int) func(harness.Response) error {
	return func(response harness.Response) error {
		if !response.OK() {
			return fmt.Errorf("status is %d, want success", response.Status)
		}

		if n := strings.Count(string(response.Body), `"`+word+`"`); n != times {
			return fmt.Errorf("%q is there %d times, want %d", word, n, times)
		}

		return nil
	}
}
