package eventing

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
)

// Logged is what subscribers of a topic read of an event in a journal. The topic is the name of the event's service; known
// may be nil. Data is JSON if it is, or if known describes its message; else it is as it was stored.
func Logged(stored journal.Event, topic, pubsub string, known *catalog.Catalog) (CloudEvent, error) {
	e := CloudEvent{
		// Dapr's streaming subscriptions tell events by their id alone.
		ID:     actors.EscapeID(stored.Ref.Service) + "/" + actors.EscapeID(stored.Ref.ID) + "/" + strconv.FormatInt(stored.Sequence, 10),
		Source: topic, SpecVersion: specVersion, Type: stored.Name,
		ContentType: stored.Payload.ContentType, Data: stored.Payload.Data,
		Attributes: map[string]string{
			"subject": stored.Ref.ID, "time": stored.Time.UTC().Format(time.RFC3339Nano),
			"sequence": strconv.FormatInt(stored.Sequence, 10),
			// As the sidecar itself adds them to what is published.
			"topic": topic, "pubsubname": pubsub,
		},
	}
	if t := stored.Context.Traceparent; t != "" {
		e.Attributes["traceparent"], e.Attributes["traceid"] = t, t
	}
	typeURL, _, _ := strings.Cut(stored.Payload.TypeURL, "?")
	if e.Type == "" {
		e.Type = typeURL[strings.LastIndexByte(typeURL, '/')+1:]
	}
	if strings.HasPrefix(typeURL, catalog.ProtobufPrefix) || strings.HasPrefix(typeURL, catalog.JSONPrefix) {
		e.Attributes["dataschema"] = typeURL
	}
	if err := e.present(stored.Payload, known); err != nil {
		return CloudEvent{}, fmt.Errorf("read event %d of %s as %s: %w", stored.Sequence, stored.Ref, typeURL, err)
	}
	return e, nil
}

// present gives the data the form in which subscribers get it.
func (e *CloudEvent) present(p actors.Payload, known *catalog.Catalog) (err error) {
	name, message := strings.CutPrefix(p.TypeURL, catalog.ProtobufPrefix)
	switch {
	case p.TypeURL == primitiveString:
		e.ContentType = contentText
		e.Data, err = unwrap(p.Data)
	case p.TypeURL == primitiveBytes:
		e.ContentType = contentOctets
		e.Data, err = unwrap(p.Data)
	case strings.HasPrefix(p.TypeURL, catalog.JSONPrefix) && p.ContentType != actors.ContentJSON: // as Cloudstate's SDKs wrap it
		e.ContentType = actors.ContentJSON
		e.Data, err = unwrap(p.Data)
	case message && p.ContentType != actors.ContentJSON:
		e.ContentType = actors.ContentProtobuf
		if known == nil {
			break
		}
		if _, err := known.Types().FindMessageByName(protoreflect.FullName(name)); err != nil {
			break // it is another component's
		}
		if e.Data, err = known.JSON(p); err == nil {
			e.ContentType = actors.ContentJSON
		}
	case p.ContentType == "" && len(p.Data) > 0: // a value of the state store
		if e.ContentType = contentOctets; json.Valid(p.Data) {
			e.ContentType = actors.ContentJSON
		}
	}
	return err
}
