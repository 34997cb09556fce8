package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
)

// ContentType maps the content type of a request to how its payload is read: the protobuf ones and octet-stream mean
// protobuf, everything else means JSON, because curl says form-urlencoded and gRPC callers say nothing.
func ContentType(header string) string {
	switch header { // what nearly all callers say
	case "", actors.ContentJSON:
		return actors.ContentJSON
	case actors.ContentProtobuf:
		return actors.ContentProtobuf
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		media = strings.ToLower(strings.TrimSpace(strings.SplitN(header, ";", 2)[0]))
	}
	switch media {
	case "application/protobuf", "application/x-protobuf", "application/octet-stream":
		return actors.ContentProtobuf
	default:
		return actors.ContentJSON
	}
}

// JSON renders any payload for people: messages that the descriptors know as their JSON form, JSON as it is, and
// everything else as an object with its type and its bytes.
func (c *Catalog) JSON(p actors.Payload) ([]byte, error) {
	if p.ContentType == actors.ContentJSON && json.Valid(p.Data) {
		return p.Data, nil
	}
	if data, err := render(c.types, p); err == nil {
		return data, nil
	}
	return opaque(p)
}

// render makes JSON of a protobuf payload. Types that nobody has described are rendered as their bytes; an error means
// that the bytes are not of the type that they are said to be.
func render(types *dynamicpb.Types, p actors.Payload) ([]byte, error) {
	name, ok := strings.CutPrefix(p.TypeURL, ProtobufPrefix)
	if !ok {
		return opaque(p)
	}
	mt, err := types.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return opaque(p)
	}
	msg := mt.New().Interface()
	if err := (proto.UnmarshalOptions{Resolver: types}).Unmarshal(p.Data, msg); err != nil {
		return nil, err
	}
	// Fields with default values are written, as Cloudstate did: a quantity of 0 is a quantity.
	data, err := protojson.MarshalOptions{Resolver: types, EmitDefaultValues: true}.Marshal(msg)
	if err != nil {
		return nil, err
	}
	// protojson puts spaces in at random.
	var b bytes.Buffer
	b.Grow(len(data))
	if err := json.Compact(&b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func opaque(p actors.Payload) ([]byte, error) {
	return json.Marshal(struct {
		Type string `json:"@type"`
		Data []byte `json:"base64"`
	}{p.TypeURL, p.Data})
}

// checkJSON refuses what is not one JSON value in UTF-8, or nested too deep.
func (m *Method) checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return actors.Errorf(actors.InvalidArgument, "the payload of %s is not valid UTF-8", m)
	}
	if depth := nesting(data); depth > m.maxDepth {
		return actors.Errorf(actors.InvalidArgument, "the payload of %s is nested more than %d deep", m, m.maxDepth)
	}
	if json.Valid(data) {
		return nil
	}
	at := len(data)
	if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(data, new(json.RawMessage))); ok {
		at = int(syntax.Offset)
	}
	return actors.Errorf(actors.InvalidArgument, "the payload of %s is not valid JSON at byte %d of %d", m, at, len(data))
}

// nesting is how deep the brackets of a JSON text go. Of a text that is not JSON it may be anything.
func nesting(data []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

var mistake = regexp.MustCompile(`^[^(]*\(line (\d+:\d+)\): (?:(unknown|duplicate) field ("(?:[^"\\]|\\.)*")|invalid value for (\w+) field (\w+))?`)

// explain takes from an error of protojson what may be said: the place, and the field. Its text quotes values.
func explain(err error) string {
	const vague = "a value does not have the form that its type wants"
	switch m := mistake.FindStringSubmatch(err.Error()); {
	case m == nil:
		return vague
	case m[2] != "":
		return fmt.Sprintf("%s field %s (line %s)", m[2], cut(m[3]), m[1])
	case m[4] != "":
		return fmt.Sprintf("the field %s wants a value of type %s (line %s)", m[5], m[4], m[1])
	default:
		return fmt.Sprintf("%s (line %s)", vague, m[1])
	}
}
