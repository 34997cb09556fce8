package operations

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// blob is bytes in JSON: a string where they are text, else {"base64": …}. Both give the same bytes back.
type blob []byte

// MarshalJSON implements json.Marshaler.
func (b blob) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		text, err := appendText(nil, string(b))
		// Text of control characters takes six bytes for one.
		if err != nil || len(text) <= 2*len(b)+2 {
			return text, err
		}
	}
	return json.Marshal(struct {
		Data []byte `json:"base64"`
	}{b})
}

// appendText makes a JSON string, and leaves <, > and & as they are.
func appendText(b []byte, s string) ([]byte, error) {
	buffer := bytes.NewBuffer(b)
	e := json.NewEncoder(buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte{'\n'}), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *blob) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		*b = blob(s)
		return nil
	}
	var v struct {
		Data *[]byte `json:"base64"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if v.Data == nil {
		return errors.New(`bytes are neither a string nor {"base64": …}`)
	}
	*b = *v.Data
	return nil
}

// payloadForm is an actors.Payload.
type payloadForm struct {
	Type        string `json:"type"`
	ContentType string `json:"contentType"`
	Data        blob   `json:"data"`
}

func payloadOf(p actors.Payload) payloadForm {
	return payloadForm{p.TypeURL, p.ContentType, p.Data}
}

func (f payloadForm) payload() actors.Payload {
	return actors.Payload{TypeURL: f.Type, ContentType: f.ContentType, Data: f.Data}
}

// eventForm is a journal.Event.
type eventForm struct {
	Service     string    `json:"service"`
	ID          string    `json:"id"`
	Sequence    int64     `json:"sequence"`
	Name        string    `json:"name"`
	Time        time.Time `json:"time"`
	Command     string    `json:"command"`
	Correlation string    `json:"correlation,omitempty"`
	Causation   string    `json:"causation,omitempty"`
	Traceparent string    `json:"traceparent,omitempty"`
	Caller      string    `json:"caller,omitempty"`
	payloadForm
}

func eventOf(e *journal.Event) eventForm {
	return eventForm{
		Service: e.Ref.Service, ID: e.Ref.ID, Sequence: e.Sequence, Name: e.Name, Time: e.Time.UTC(), Command: e.Command,
		Correlation: e.Context.Correlation, Causation: e.Context.Causation, Traceparent: e.Context.Traceparent, Caller: e.Context.Caller,
		payloadForm: payloadOf(e.Payload),
	}
}

func (f *eventForm) event() journal.Event {
	return journal.Event{
		Ref: actors.Ref{Service: f.Service, ID: f.ID}, Sequence: f.Sequence, Name: f.Name, Time: f.Time, Command: f.Command,
		Context: journal.Context{Correlation: f.Correlation, Causation: f.Causation, Traceparent: f.Traceparent, Caller: f.Caller},
		Payload: f.payload(),
	}
}
