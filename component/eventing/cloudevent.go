package eventing

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// The metadata keys of a CloudEvent's attributes. What is not a context attribute is an extension of CloudEvents: ours
// are eventname and sequence.
const (
	prefix          = "ce-"
	keyID           = "ce-id"
	keySource       = "ce-source"
	keySpecVersion  = "ce-specversion"
	keyType         = "ce-type"
	keyDataSchema   = "ce-dataschema"
	keySubject      = "ce-subject"
	keyTime         = "ce-time"
	keyContentType  = "Content-Type"
	keyEventName    = "ce-eventname"
	keySequence     = "ce-sequence"
	specVersion     = "1.0"
	contentAny      = "application/vnd.cloudstate.protobuf.any"
	contentText     = "text/plain; charset=utf-8"
	contentOctets   = "application/octet-stream"
	primitivePrefix = "p.cloudstate.io/"
	primitiveString = primitivePrefix + "string"
	primitiveBytes  = primitivePrefix + "bytes"
)

// CloudEvent is an event of a topic.
type CloudEvent struct {
	ID, Source, Type, SpecVersion string
	ContentType                   string
	Data                          []byte
	// Attributes are the others, by name: subject, time, dataschema, and extensions.
	Attributes map[string]string
}

// metadata of an event, in the order in which Cloudstate had it.
func (e *CloudEvent) metadata() actors.Metadata {
	m := actors.Metadata{
		{Key: keyID, Text: e.ID}, {Key: keySource, Text: e.Source}, {Key: keySpecVersion, Text: e.SpecVersion},
		{Key: keyType, Text: e.Type}, {Key: keyContentType, Text: e.ContentType},
	}
	for _, key := range []string{keyDataSchema, keySubject, keyTime} {
		if text := e.Attributes[strings.TrimPrefix(key, prefix)]; text != "" {
			m = append(m, actors.Entry{Key: key, Text: text})
		}
	}
	return m
}

// payload makes of an event's data what a user function takes.
func (e *CloudEvent) payload() actors.Payload {
	media, parameters, err := mime.ParseMediaType(e.ContentType)
	if err != nil {
		media = strings.ToLower(strings.TrimSpace(strings.SplitN(e.ContentType, ";", 2)[0]))
	}
	switch {
	case media == "application/protobuf", media == "application/x-protobuf", media == "application/vnd.google.protobuf":
		name := parameters["proto"]
		if name == "" {
			name = parameters["messagetype"]
		}
		if name == "" {
			name = e.Type
		}
		return actors.Payload{TypeURL: catalog.ProtobufPrefix + name, ContentType: actors.ContentProtobuf, Data: e.Data}
	case media == "application/json", strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"):
		return actors.Payload{TypeURL: catalog.JSONPrefix + e.Type, ContentType: actors.ContentJSON, Data: e.Data}
	case strings.HasPrefix(media, "text/") && (parameters["charset"] == "" || strings.EqualFold(parameters["charset"], "utf-8")):
		return primitive(primitiveString, e.Data)
	default:
		return primitive(primitiveBytes, e.Data)
	}
}

// primitive wraps data as the protocol's strings and bytes are: field 1 of a message, left out if empty.
func primitive(typeURL string, data []byte) actors.Payload {
	p := actors.Payload{TypeURL: typeURL, ContentType: actors.ContentProtobuf}
	if len(data) > 0 {
		p.Data = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), data)
	}
	return p
}

// unwrap is the inverse of primitive. Of several fields 1 the last counts.
func unwrap(data []byte) ([]byte, error) {
	var value []byte
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		data = data[n:]
		if number == 1 && kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(data)
			if n < 0 {
				return nil, protowire.ParseError(n)
			}
			value, data = v, data[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return nil, protowire.ParseError(n)
		}
		data = data[n:]
	}
	return value, nil
}

// reply makes an event of what a method answered. The metadata override the defaults.
func reply(id, source string, p actors.Payload, m actors.Metadata, now time.Time) (CloudEvent, error) {
	e := CloudEvent{
		ID: id, Source: source, SpecVersion: specVersion, Data: p.Data,
		Attributes: map[string]string{"time": now.UTC().Format(time.RFC3339Nano)},
	}
	var err error
	switch name, json := strings.CutPrefix(p.TypeURL, catalog.JSONPrefix); {
	case json:
		e.Type, e.ContentType = name, actors.ContentJSON
		if p.ContentType != actors.ContentJSON { // an envelope that is not as ours would be
			e.Data, err = unwrap(p.Data)
		}
	case p.TypeURL == primitiveString:
		e.ContentType = contentText
		e.Data, err = unwrap(p.Data)
	case p.TypeURL == primitiveBytes:
		e.ContentType = contentOctets
		e.Data, err = unwrap(p.Data)
	default:
		e.ContentType = actors.ContentProtobuf
		e.Type = p.TypeURL[strings.IndexByte(p.TypeURL, '/')+1:]
	}
	if err != nil {
		return CloudEvent{}, fmt.Errorf("read the reply as %s: %w", p.TypeURL, err)
	}
	for _, entry := range m {
		if entry.Text == "" {
			continue
		}
		switch key := strings.ToLower(entry.Key); {
		case key == keyID:
			e.ID = entry.Text
		case key == keySource:
			e.Source = entry.Text
		case key == keyType:
			e.Type = entry.Text
		case key == keySpecVersion:
			e.SpecVersion = entry.Text
		case key == "content-type":
			e.ContentType = entry.Text
		case attribute(strings.TrimPrefix(key, prefix)) && strings.HasPrefix(key, prefix):
			e.Attributes[strings.TrimPrefix(key, prefix)] = entry.Text
		}
	}
	return e, nil
}

// attribute reports whether CloudEvents allows a name: lower-case letters and digits. Those for which the JSON form has a
// place of its own are not attributes.
func attribute(name string) bool {
	switch name {
	case "", "data", "datacontenttype":
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

// JSON is the structured form. Data that are neither JSON nor text are in base64.
func (e *CloudEvent) JSON() ([]byte, error) {
	fields := make(map[string]any, len(e.Attributes)+6)
	for name, text := range e.Attributes {
		fields[name] = text
	}
	fields["id"], fields["source"], fields["specversion"] = e.ID, e.Source, e.SpecVersion
	// CloudEvents wants a type. Cloudstate had none for primitives.
	fields["type"] = e.Type
	if e.Type == "" {
		fields["type"] = e.Source
	}
	fields["datacontenttype"] = e.ContentType
	media, _, _ := strings.Cut(e.ContentType, ";")
	switch media = strings.ToLower(strings.TrimSpace(media)); {
	case len(e.Data) == 0:
	case (media == actors.ContentJSON || strings.HasSuffix(media, "+json")) && json.Valid(e.Data):
		fields["data"] = json.RawMessage(e.Data)
	case strings.HasPrefix(media, "text/"):
		fields["data"] = string(e.Data)
	default:
		fields["data_base64"] = e.Data
	}
	return json.Marshal(fields)
}

// parseCloudEvent reads what JSON wrote.
func parseCloudEvent(data []byte) (CloudEvent, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return CloudEvent{}, fmt.Errorf("read a CloudEvent: %w", err)
	}
	e := CloudEvent{Attributes: map[string]string{}}
	for name, raw := range fields {
		var text string
		isText := json.Unmarshal(raw, &text) == nil
		switch {
		case name == "data_base64":
			if err := json.Unmarshal(raw, &e.Data); err != nil {
				return CloudEvent{}, fmt.Errorf("read a CloudEvent's data: %w", err)
			}
		case name == "data":
			e.Data = raw
		case !isText:
		case name == "id":
			e.ID = text
		case name == "source":
			e.Source = text
		case name == "type":
			e.Type = text
		case name == "specversion":
			e.SpecVersion = text
		case name == "datacontenttype":
			e.ContentType = text
		default:
			e.Attributes[name] = text
		}
	}
	if _, ok := fields["data"]; ok && strings.HasPrefix(strings.ToLower(e.ContentType), "text/") {
		var text string
		if err := json.Unmarshal(e.Data, &text); err != nil {
			return CloudEvent{}, fmt.Errorf("read a CloudEvent's data: %w", err)
		}
		e.Data = []byte(text)
	}
	return e, nil
}
