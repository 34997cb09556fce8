package sdktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/def"
)

// storedEvent is one line of a file of stored events.
type storedEvent struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Payload []byte `json:"payload"` // in base64
}

// WriteFile writes the entity's events to a file, byte for byte as they are stored: for a test that reads them with
// GivenFile for ever after, whatever becomes of the types and appliers of today.
func (h *Harness) WriteFile(path string) {
	h.t.Helper()
	var b bytes.Buffer
	for _, e := range h.events {
		line, err := json.Marshal(storedEvent{e.Name, e.Payload.GetTypeUrl(), e.Payload.GetValue()})
		if err != nil {
			h.t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// GivenFile adds the stored events of a file that WriteFile wrote to the entity's past, and opens it anew. It ends the
// test if one of them can no longer be applied.
func (h *Harness) GivenFile(path string) {
	h.t.Helper()
	events, err := readEvents(path)
	if err != nil {
		h.t.Fatalf("read stored events from %s: %v", path, err)
	}
	h.events = append(h.events, events...)
	h.Reopen()
	h.subject.check(path)
}

func readEvents(path string) (events []def.Event, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := json.NewDecoder(bytes.NewReader(b))
	lines.DisallowUnknownFields()
	for {
		var e storedEvent
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(events)+1, err)
		}
		events = append(events, def.Event{Name: e.Name, Payload: &anypb.Any{TypeUrl: e.Type, Value: e.Payload}})
	}
	if len(events) == 0 {
		return nil, errors.New("there are none")
	}
	return events, nil
}
