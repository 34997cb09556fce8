package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dapr-entities/entities/tests/harness"
)

// What tests/fixture serves: a replicated entity with a counter of knocks.
const (
	roomService = "test.v1.Room"
	roomType    = "Room"
)

const (
	roomNodes   = 3
	roomsOfNode = 4
	roomUpdates = 100 // each second, of all nodes together
)

// rooms are three nodes that replicate rooms. Each room is knocked at by one node, so that a count of knocks tells which
// write a stream shows, and watched at the two others.
type rooms struct {
	gateways []*harness.Client
	rooms    []room
}

type room struct {
	id       string
	writer   int
	watchers []*watcher
}

// startRooms starts the nodes, with a database of their own and Redis for the deltas or without.
func (s *stage) startRooms(ctx context.Context, name string, redis bool) (*rooms, error) {
	database := strings.ReplaceAll(name, "-", "_")
	if err := s.postgres.create(ctx, database); err != nil {
		return nil, err
	}

	metadata := map[string]string{}
	options := s.daprd(name)

	if redis {
		broker, err := s.cluster.StartRedis(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // it names the process
		}

		// Each sidecar has a consumer group of its own, so that all of them get every message.
		yaml := broker.Component("replication", "pubsub.redis", "  - {name: consumerID, value: \"{uuid}\"}\n")

		folder, err := s.resources(name, map[string]string{"replication.yaml": string(yaml)})
		if err != nil {
			return nil, err
		}

		options.Resources = []string{folder}
		metadata["replication"] = "pubsub:replication"
	}

	all := &rooms{}

	for i := range roomNodes {
		ports, err := harness.FreePorts(1)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what it did
		}

		address := fmt.Sprintf("127.0.0.1:%d", ports[0])

		host, err := s.cluster.StartHost(ctx, harness.HostOptions{
			Name: fmt.Sprintf("%s-%d", name, i), AppID: options.AppID, Placement: s.placement.Address,
			Journal: s.postgres.URL(database), ActorTypes: []string{roomType},
			Metadata:  with(metadata, "gatewayAddress", address),
			Component: harness.ComponentOptions{Args: []string{"--logLevel", "warn"}},
			Handler:   harness.HandlerOptions{Package: "tests/fixture", Args: []string{"-rooms"}},
			Daprd:     options,
		})
		if err != nil {
			return nil, err //nolint:wrapcheck // it names the process
		}

		_, err = s.dial(name, host.Daprd.GRPCAddress(), map[role]*harness.Process{
			sidecar: host.Daprd.Process, component: host.Component.Process, handler: host.Handler.Process,
		})
		if err != nil {
			return nil, err
		}

		all.gateways = append(all.gateways, harness.NewClient("http://"+address))

		for k := range roomsOfNode {
			all.rooms = append(all.rooms, room{id: fmt.Sprintf("room-%d-%d", i, k), writer: i})
		}
	}

	return all, nil
}

func with(all map[string]string, key, value string) map[string]string {
	made := map[string]string{key: value}
	maps.Copy(made, all)

	return made
}

// knock returns how often there have been knocks at a room, as its writer sees it.
func (r *rooms) knock(ctx context.Context, at *room) (int64, error) {
	path := "/entities/" + roomService + "/" + at.id + "/Knock"

	response, err := r.gateways[at.writer].Do(ctx, http.MethodPost, path, jsonHeader, []byte(`{"n":1}`))
	if err == nil && !response.OK() {
		err = fmt.Errorf("status %d: %.200q", response.Status, response.Body)
	}

	if err != nil {
		return 0, fmt.Errorf("knock at %s: %w", at.id, err)
	}

	return parseKnocks(response.Body)
}

var jsonHeader = map[string]string{"Content-Type": "application/json"}

func parseKnocks(data []byte) (int64, error) {
	var seen struct {
		Knocks *int64 `json:"knocks"`
	}

	if err := json.Unmarshal(data, &seen); err != nil || seen.Knocks == nil {
		return 0, fmt.Errorf("a room shows %.200q, which has no knocks", data)
	}

	return *seen.Knocks, nil
}

// watcher compares what a node's stream shows with what another one replied.
type watcher struct {
	mu      sync.Mutex
	shown   int64
	waiting []written
	latency *hdrhistogram.Histogram // microseconds, nil as long as nothing counts
	err     error
}

// written is a write that the stream has not shown.
type written struct {
	knocks int64
	at     time.Time
	counts bool
}

// replied takes a reply. What the stream showed before its writer had the reply took no time.
func (w *watcher) replied(knocks int64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()

	write := written{knocks, at, w.latency != nil}
	if knocks > w.shown {
		w.waiting = append(w.waiting, write)
	} else {
		w.record(write, at)
	}
}

func (w *watcher) record(write written, at time.Time) {
	if write.counts && w.latency != nil {
		_ = w.latency.RecordValue(max(1, at.Sub(write.at).Microseconds())) // whatever takes longer than its limit is missing
	}
}

// show takes what the stream shows.
func (w *watcher) show(knocks int64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.shown = max(w.shown, knocks)
	left := w.waiting[:0]

	for _, write := range w.waiting {
		if write.knocks > w.shown {
			left = append(left, write)
		} else {
			w.record(write, at)
		}
	}

	w.waiting = left
}

// count begins to count, or ends it and returns what was counted.
func (w *watcher) count(begin bool) *hdrhistogram.Histogram {
	w.mu.Lock()
	defer w.mu.Unlock()

	counted := w.latency
	if w.latency = nil; begin {
		w.latency = newHistogram()
	}

	return counted
}

// behind tells what the stream has not shown, or why it ended.
func (w *watcher) behind() error {
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.err != nil {
		return w.err
	}

	if len(w.waiting) > 0 {
		return fmt.Errorf("a stream shows %d knocks, and %d have been acknowledged",
			w.shown, w.waiting[len(w.waiting)-1].knocks)
	}

	return nil
}

// watch follows a room at a node until ctx ends. It returns when the first message has come.
func (r *rooms) watch(ctx context.Context, streams *sync.WaitGroup, at *room, node int) (*watcher, error) {
	url := r.gateways[node].Base + "/entities/" + roomService + "/" + at.id + "/Watch"

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", at.id, err)
	}

	request.Header.Set("Content-Type", "application/json")

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", at.id, err)
	}

	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() {
		response.Body.Close()

		return nil, fmt.Errorf("watch %s: status %d, and the stream shows nothing: %w", at.id, response.StatusCode, lines.Err())
	}

	w := &watcher{}

	show := func() error {
		knocks, err := parseKnocks(lines.Bytes())
		w.show(knocks, time.Now())

		return err
	}

	if err := show(); err != nil {
		response.Body.Close()

		return nil, err
	}

	streams.Go(func() {
		defer response.Body.Close()

		var err error
		for err == nil && lines.Scan() {
			err = show()
		}

		w.mu.Lock()
		defer w.mu.Unlock()

		w.err = errors.Join(fmt.Errorf("the stream of %s ended", at.id), err, lines.Err())
	})

	return w, nil
}
