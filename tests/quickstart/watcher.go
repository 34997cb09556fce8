package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/dapr-entities/entities/samples/presence"
	"github.com/dapr-entities/entities/tests/harness"
)

// watcher is somebody in the room: it listens to the server-sent events of Join until it is closed, which is how one leaves.
type watcher struct {
	visit  presence.Visit
	node   *node
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex
	last presence.View
	told int   // how often
	err  error // why it was told no more
}

// watch joins the room. Close the watcher.
func watch(ctx context.Context, n *node, visit presence.Visit) (*watcher, error) {
	ctx, cancel := context.WithCancel(ctx)

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, n.gateway.Base+roomPath+"Join", bytes.NewReader(encode(visit)))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("join: %w", err)
	}

	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")

	// Not the gateway's client, which would give up after its timeout.
	response, err := (&http.Client{Transport: n.gateway.HTTP.Transport}).Do(request) //nolint:bodyclose // the goroutine below closes it
	if err != nil {
		cancel()
		return nil, fmt.Errorf("join: %w", err)
	}

	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		response.Body.Close()
		cancel()

		return nil, fmt.Errorf("join: %s: %s", response.Status, text)
	}

	w := &watcher{visit: visit, node: n, cancel: cancel, ended: make(chan struct{})}

	go func() { // close waits for it
		defer close(w.ended)
		defer response.Body.Close()

		w.fail(w.listen(response.Body))
	}()

	return w, nil
}

func (w *watcher) listen(body io.Reader) error {
	for lines := bufio.NewScanner(body); ; {
		if !lines.Scan() {
			return errors.Join(lines.Err(), io.ErrUnexpectedEOF)
		}

		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}

		var view presence.View
		if err := json.Unmarshal(data, &view); err != nil {
			return fmt.Errorf("read what %s is told: %w: %s", w.visit.Name, err, data)
		}

		w.mu.Lock()
		w.last = view
		w.told++
		w.mu.Unlock()
	}
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// view is what this watcher was told last.
func (w *watcher) view() (presence.View, error) {
	w.mu.Lock()
	defer w.mu.Unlock()

	switch {
	case w.err != nil:
		return presence.View{}, fmt.Errorf("what %s is told at %s has ended: %w", w.visit.Name, w.node.name, w.err)
	case w.told == 0:
		return presence.View{}, fmt.Errorf("%s has been told nothing at %s yet", w.visit.Name, w.node.name)
	default:
		return w.last, nil
	}
}

// close leaves.
func (w *watcher) close() {
	w.cancel()
	<-w.ended
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // the sample's own types of strings
	}

	return data
}

func viewIn(response harness.Response) (view presence.View, err error) {
	if !response.OK() {
		return view, fmt.Errorf("status is %d, want success: %s", response.Status, response.Body)
	}

	if err := json.Unmarshal(response.Body, &view); err != nil {
		return view, fmt.Errorf("read the view %s: %w", response.Body, err)
	}

	return view, nil
}
