package building

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
)

const (
	// MaxTopicBytes is the longest topic.
	MaxTopicBytes = feed.MaxGroupBytes - len(catalog.TopicPersistence)
	// topicLanes is how many streams take the messages of a topic that have no key.
	topicLanes = 32
	// messageType is what the type URL of a message begins with; as a query, what was said of the message follows. So it
	// is under the event's checksum, and the data is what was published.
	messageType = "pubsub.entities/message"
	// messageName is the name of the event of a message that is no CloudEvent, or none with a type.
	messageName = "message"

	partitionKey     = "partitionKey"
	contentCloud     = "application/cloudevents+json"
	queryExpires     = "expires"
	queryMetadata    = "metadata."
	maxNameBytes     = 256
	maxTopicKeyBytes = 200
)

// message is one that is published to a topic.
type message struct {
	topic       string
	data        []byte
	contentType string
	metadata    map[string]string
	// The rest is made by parse.
	expires time.Time // zero if it does not
	event   cloudEvent
}

// cloudEvent is what is read of a message that is a CloudEvent in JSON; the zero value is none.
type cloudEvent struct {
	ID, Source, Type, Subject, Traceparent string
	// content is a hash of what the event tells.
	content [16]byte
}

// parseCloudEvent returns the zero value for data that is no CloudEvent.
func parseCloudEvent(data []byte) cloudEvent {
	if data = bytes.TrimLeft(data, " \t\r\n"); len(data) == 0 || data[0] != '{' {
		return cloudEvent{}
	}
	var fields struct {
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		SpecVersion     string          `json:"specversion"`
		Type            json.RawMessage `json:"type"`
		Subject         json.RawMessage `json:"subject"`
		Traceparent     json.RawMessage `json:"traceparent"`
		DataContentType json.RawMessage `json:"datacontenttype"`
		Data            json.RawMessage `json:"data"`
		Base64          json.RawMessage `json:"data_base64"`
	}
	if json.Unmarshal(data, &fields) != nil || fields.SpecVersion == "" || fields.ID == "" {
		return cloudEvent{}
	}
	text := func(raw json.RawMessage) (s string) {
		_ = json.Unmarshal(raw, &s) // what is no text is not there
		return s
	}
	e := cloudEvent{
		ID: fields.ID, Source: fields.Source, Type: text(fields.Type), Subject: text(fields.Subject), Traceparent: text(fields.Traceparent),
	}
	// Neither time nor trace: whoever publishes an event again may give it new ones.
	e.content = hashOf(string(fields.Type), string(fields.Subject), string(fields.DataContentType), string(fields.Data), string(fields.Base64))
	return e
}

func (e *cloudEvent) is() bool { return e.ID != "" }

// hashOf texts, with their lengths.
func hashOf(texts ...string) (sum [16]byte) {
	h := sha256.New()
	for _, s := range texts {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	copy(sum[:], h.Sum(nil))
	return sum
}

// parse checks a message and completes it. Expiry is counted from now.
func (m *message) parse(limit int64, now time.Time) error {
	for key, value := range m.metadata {
		if strings.EqualFold(key, "content-type") || strings.EqualFold(key, contentTypeKey) {
			if m.contentType == "" {
				m.contentType = value
			}
			delete(m.metadata, key)
		}
	}
	if len(m.contentType) > MaxContentTypeBytes || strings.ContainsRune(m.contentType, 0) {
		return actors.Errorf(actors.InvalidArgument, "the content type %q of a message to the topic %q has %d bytes; at most %d are allowed, and none of them NUL",
			cut(m.contentType), cut(m.topic), len(m.contentType), MaxContentTypeBytes)
	}
	if text := lookup(m.metadata, ttlKey); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 1 || seconds > math.MaxInt32 {
			return actors.Errorf(actors.InvalidArgument, "the metadata %s of a message to the topic %q is %q, want a number of seconds from 1 to %d",
				ttlKey, cut(m.topic), cut(text), math.MaxInt32)
		}
		m.expires = now.Add(time.Duration(seconds) * time.Second)
	}
	size := int64(len(m.data) + len(m.topic) + len(m.contentType) + overhead)
	for key, value := range m.metadata {
		size += int64(len(key) + len(value) + 8)
	}
	if size > limit {
		return actors.Errorf(actors.ResourceExhausted,
			"the message to the topic %q has %d bytes with its metadata, and the sidecar could not be given more than %d; publish it in parts, or where to find it",
			cut(m.topic), size-overhead, limit-overhead)
	}
	if m.event = parseCloudEvent(m.data); m.contentType == "" && m.event.is() {
		m.contentType = contentCloud
	}
	return nil
}

// id of the stream: that of the message's key, if it has one, so that messages with one key stay in order. Others are
// spread, and a CloudEvent that is published again comes to the same stream.
func (m *message) id() string {
	key := lookup(m.metadata, partitionKey)
	if key == "" {
		key = m.event.Subject
	}
	switch {
	case key != "" && len(key) <= maxTopicKeyBytes && !strings.ContainsFunc(key, unicode.IsControl):
		return "key/" + key
	case key != "":
		sum := sha256.Sum256([]byte(key))
		return "hash/" + hex.EncodeToString(sum[:])
	}
	var lane byte
	if m.event.is() {
		lane = hashOf(m.event.Source, m.event.ID)[0]
	} else {
		var some [1]byte
		_, _ = rand.Read(some[:]) // never fails
		lane = some[0]
	}
	return "lane/" + strconv.Itoa(int(lane)%topicLanes)
}

// command of the append. CloudEvents says that an event is told by its source and its id.
func (m *message) command() string {
	if !m.event.is() {
		return "message-" + rand.Text()
	}
	sum := hashOf(m.event.Source, m.event.ID)
	return "cloudevent-" + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
}

// store is the event in the journal.
func (m *message) store(caller string) journal.Event {
	e := journal.Event{Name: messageName, Payload: actors.Payload{TypeURL: messageType, ContentType: m.contentType, Data: m.data}}
	if name := m.event.Type; name != "" && len(name) <= maxNameBytes && !strings.ContainsRune(name, 0) {
		e.Name = name
	}
	said := url.Values{}
	if !m.expires.IsZero() {
		said.Set(queryExpires, m.expires.UTC().Format(time.RFC3339Nano))
	}
	for key, value := range m.metadata {
		if !strings.EqualFold(key, ttlKey) { // who publishes it again, as a dead letter, would give it the whole time again
			said.Set(queryMetadata+key, value)
		}
	}
	if len(said) > 0 {
		e.Payload.TypeURL += "?" + said.Encode()
	}
	if traceparents.MatchString(m.event.Traceparent) {
		e.Context.Traceparent = m.event.Traceparent
	}
	e.Context.Caller = caller
	return e
}

// stored reads what store made. An event that is of no message has no metadata and does not expire.
func stored(e journal.Event) (metadata map[string]string, expires time.Time) {
	query, found := strings.CutPrefix(e.Payload.TypeURL, messageType+"?")
	if !found {
		return nil, time.Time{}
	}
	said, err := url.ParseQuery(query)
	if err != nil { // nothing writes that; a message too many is better than one too few
		return nil, time.Time{}
	}
	metadata = map[string]string{}
	for key := range said {
		if name, ok := strings.CutPrefix(key, queryMetadata); ok {
			metadata[name] = said.Get(key)
		}
	}
	if expires, err = time.Parse(time.RFC3339Nano, said.Get(queryExpires)); err != nil {
		expires = time.Time{}
	}
	return metadata, expires
}
