package building

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/config"
)

// operation is one operation of the binding.
type operation struct {
	name string
	// required and optional are the metadata it reads.
	required, optional []string
	run                func(b *binding, ctx context.Context, c *call) (*components.InvokeResponse, error)
}

// operations in the order in which errors list them. The sidecar asks for them once and refuses others itself.
var operations = []operation{
	// An input binding's events can only be sent on with create.
	{"invoke", []string{"service", "id", "command"}, []string{"idempotencyKey", "contentType"}, (*binding).command},
	{"create", []string{"service", "id", "command"}, []string{"idempotencyKey", "contentType"}, (*binding).command},
	{"get", []string{"service", "id"}, nil, (*binding).get},
	{"history", []string{"service", "id"}, []string{"after", "limit"}, (*binding).history},
	{"list", []string{"service"}, []string{"after", "limit"}, (*binding).list},
	{"outcome", []string{"service", "id", "idempotencyKey"}, nil, (*binding).outcome},
}

// binding serves bindings.entities.
type binding struct {
	components.UnimplementedOutputBindingServer
	server *Server
}

// Init takes the settings.
func (b *binding) Init(ctx context.Context, r *components.OutputBindingInitRequest) (*components.OutputBindingInitResponse, error) {
	key := instanceKey{bindingType, nameOf(ctx)}
	if err := b.server.instances.init(ctx, key, r.GetMetadata().GetProperties(), true); err != nil {
		return nil, stateStatus(err)
	}
	return &components.OutputBindingInitResponse{}, nil
}

// Ping answers always: it asks for the process.
func (b *binding) Ping(context.Context, *components.PingRequest) (*components.PingResponse, error) {
	return &components.PingResponse{}, nil
}

// ListOperations returns the names of operations.
func (b *binding) ListOperations(ctx context.Context, _ *components.ListOperationsRequest) (*components.ListOperationsResponse, error) {
	if _, err := b.server.instances.get(ctx, bindingType); err != nil {
		return nil, stateStatus(err)
	}
	return &components.ListOperationsResponse{Operations: operationNames()}, nil
}

func operationNames() []string {
	names := make([]string, len(operations))
	for i, o := range operations {
		names[i] = o.name
	}
	return names
}

// Invoke carries out an operation.
func (b *binding) Invoke(ctx context.Context, r *components.InvokeRequest) (*components.InvokeResponse, error) {
	c := &call{}
	resp, err := b.invoke(ctx, r, c)
	if err == nil {
		err = fits(resp, min(c.config.MaxReply, maxResponse), "the answer", "ask for less at once")
	}
	if err != nil {
		return nil, bindingStatus(err, c.ref, c.sequence)
	}
	return resp, nil
}

func (b *binding) invoke(ctx context.Context, r *components.InvokeRequest, c *call) (*components.InvokeResponse, error) {
	i, err := b.server.instances.get(ctx, bindingType)
	if err != nil {
		return nil, err
	}
	n := slices.IndexFunc(operations, func(o operation) bool { return o.name == r.GetOperation() })
	if n < 0 {
		return nil, actors.Errorf(actors.Unimplemented, "the binding has no operation %q (known: %s)", cut(r.GetOperation()), strings.Join(operationNames(), ", "))
	}
	o := &operations[n]
	if err := c.read(o, r.GetMetadata()); err != nil {
		return nil, err
	}
	c.config, c.data = i.config, r.GetData()
	if n := int64(len(c.data)); n > c.config.MaxMessage {
		return nil, actors.Errorf(actors.ResourceExhausted, "the data has %d bytes, at most %d are allowed (maxMessage)", n, c.config.MaxMessage)
	}
	if c.runtime = b.server.runtime.Load(); c.runtime == nil || c.runtime.Entities == nil {
		return nil, actors.Errorf(actors.Unavailable, "the component is starting; try again")
	}
	if c.catalog = c.runtime.catalog(); c.catalog != nil {
		s, known := c.catalog.Service(c.ref.Service)
		if !known {
			return nil, actors.Errorf(actors.Unimplemented, "there is no service %q (known: %s)", cut(c.ref.Service), serviceNames(c.catalog))
		}
		c.service, c.ref.Service = s, s.Name
	}
	return o.run(b, ctx, c)
}

// call is one request to the binding.
type call struct {
	values map[string]string // by the names in operations
	others actors.Metadata
	data   []byte

	config   config.Config
	runtime  *Runtime
	catalog  *catalog.Catalog // nil without a user function
	service  *catalog.Service
	ref      actors.Ref
	sequence int64
}

// read takes the metadata apart. Besides what the caller meant for us it holds whatever came with his request to the
// sidecar: that goes on to the entity. So an unknown item is a mistake only where it looks like one.
func (c *call) read(o *operation, metadata map[string]string) error {
	known := append(slices.Clone(o.required), o.optional...)
	c.values = map[string]string{}
	var strange []string
	for _, key := range sortedKeys(metadata) {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
		switch {
		case i >= 0:
			if before, twice := c.values[known[i]]; twice && before != metadata[key] {
				return actors.Errorf(actors.InvalidArgument, "the metadata has %s twice, with different values", known[i])
			}
			c.values[known[i]] = metadata[key]
		case passesOn(key):
			c.others = append(c.others, actors.Entry{Key: key, Text: metadata[key]})
			strange = append(strange, key)
		}
	}
	list := strings.Join(o.required, ", ")
	if len(o.optional) > 0 {
		list += "; optional: " + strings.Join(o.optional, ", ")
	}
	absent := slices.DeleteFunc(known, func(k string) bool { _, has := c.values[k]; return has })
	for _, key := range strange {
		if near := config.Nearest(key, absent); near != "" && !strings.ContainsAny(key, "-_:") {
			return actors.Errorf(actors.InvalidArgument, "operation %s does not know the metadata %q; did you mean %s? (required: %s)", o.name, cut(key), near, list)
		}
	}
	for _, k := range o.required {
		if c.values[k] == "" {
			return actors.Errorf(actors.InvalidArgument, "operation %s needs the metadata %s (required: %s)", o.name, k, list)
		}
	}
	c.ref = actors.Ref{Service: c.values["service"], ID: c.values["id"]}
	if slices.Contains(o.required, "id") {
		if err := actors.ValidateID(c.ref.ID); err != nil {
			c.ref.ID = cut(c.ref.ID)
			return err
		}
	}
	return nil
}

// passesOn reports whether a metadata item is for the entity: not what describes the caller's own request to the
// sidecar, and never its API token.
func passesOn(key string) bool {
	key = strings.ToLower(key)
	return !strings.HasPrefix(key, "dapr-") && !strings.HasPrefix(key, "grpc-") && !strings.HasPrefix(key, ":") &&
		key != "content-type" && key != "content-length" && key != "user-agent"
}

// command is the operation invoke.
func (b *binding) command(ctx context.Context, c *call) (*components.InvokeResponse, error) {
	contentType := c.values["contentType"]
	var method *catalog.Method
	var err error
	if c.service != nil {
		if method, err = c.service.Method(c.values["command"]); err != nil {
			return nil, err
		}
	}
	payload, err := c.decode(method, contentType)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(c.config.CommandTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	out, err := c.runtime.Entities.Handle(ctx, actors.Command{
		Ref: c.ref, Method: c.values["command"], Payload: payload, Metadata: c.others,
		Key: c.values["idempotencyKey"], Deadline: deadline,
	})
	c.sequence = out.Sequence
	switch {
	case err != nil:
		return nil, err
	case out.Failure != nil:
		return nil, out.Failure
	case out.Forward != nil:
		return nil, actors.Errorf(actors.Internal, "%s forwarded the command, and nobody followed", c.ref)
	}
	resp := &components.InvokeResponse{Metadata: map[string]string{}}
	for _, e := range out.Metadata {
		if e.Bytes == nil {
			resp.Metadata[e.Key] = e.Text
		}
	}
	if out.Reply != nil {
		resp.Data, resp.ContentType = out.Reply.Data, out.Reply.ContentType
		if method != nil {
			if resp.Data, resp.ContentType, err = method.Encode(*out.Reply, contentType); err != nil {
				return nil, err
			}
		}
		resp.Metadata["content-type"] = resp.ContentType
	}
	resp.Metadata["sequence"] = strconv.FormatInt(out.Sequence, 10)
	resp.Metadata["repeated"] = strconv.FormatBool(out.Repeated)
	return resp, nil
}

// decode makes the payload, with m of a catalog. Without one the host that gets the command decodes it.
func (c *call) decode(m *catalog.Method, contentType string) (actors.Payload, error) {
	data, kind := c.data, catalog.ContentType(contentType)
	if kind == actors.ContentJSON && bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		data = nil // what the sidecar's HTTP API makes of a request without data
	}
	if m == nil {
		return actors.Payload{ContentType: kind, Data: data}, nil
	}
	return m.Decode(c.ref.ID, contentType, data)
}

// number reads a metadata item that is a whole number.
func (c *call) number(key string, unset, least, most int64) (int64, error) {
	text := c.values[key]
	if text == "" {
		return unset, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, actors.Errorf(actors.InvalidArgument, "the metadata %s is %q, and not a whole number from %d to %d", key, cut(text), least, most)
	}
	return n, nil
}

// json renders a payload; one that cannot be rendered is shown as bytes.
func (c *call) json(p actors.Payload) json.RawMessage {
	if data, err := c.catalog.JSON(p); err == nil && json.Valid(data) {
		return data
	}
	data, _ := json.Marshal(map[string]string{"@type": p.TypeURL, "base64": base64.StdEncoding.EncodeToString(p.Data)})
	return data
}

func serviceNames(c *catalog.Catalog) string {
	var names []string
	for _, s := range c.Services() {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func answer(v any, metadata map[string]string) (*components.InvokeResponse, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return &components.InvokeResponse{Data: data, ContentType: actors.ContentJSON, Metadata: metadata}, nil
}

var errNoJournal = errors.New("this component has no journal or no user function; ask the component that hosts the entity")
