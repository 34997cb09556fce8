package gateway

import (
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// object is one of JSON. Its keys come out in order.
type object = map[string]any

// openAPI describes the routes in OpenAPI 3.1: the rules of protobuf methods, and the addressed route of every method.
func openAPI(r *routes) []byte {
	d := &document{paths: make(map[string]object), schemas: object{}}
	d.schemas["Problem"] = object{
		"type": "object", "description": "What went wrong (RFC 9457).", "required": []string{"status", "detail", "code"},
		"properties": object{
			"type": object{"type": "string"}, "title": object{"type": "string"}, "status": object{"type": "integer"},
			"detail": object{"type": "string"}, "code": object{"type": "string", "description": "A gRPC code by its name."},
		},
	}
	var tags []object
	for _, s := range r.catalog.Services() {
		tags = append(tags, object{"name": s.Name, "description": "A service of the kind " + s.Kind.String() + "."})
		for _, name := range s.Methods() {
			if m := r.methods["/"+s.Name+"/"+name]; m != nil {
				d.addressed(m)
			}
		}
		if s.Kind.Placed() {
			d.outcomes(s)
		}
	}
	// In the order of a search, the first one found is served.
	for _, b := range r.bindings {
		d.binding(b)
	}
	body, _ := json.Marshal(object{ // it is made of texts
		"openapi": "3.1.0",
		"info":    object{"title": "Entities", "version": "1"},
		"tags":    tags, "paths": d.paths, "components": object{"schemas": d.schemas},
	})
	return body
}

type document struct {
	paths   map[string]object
	schemas object
}

func (d *document) add(path, verb string, operation object) {
	if d.paths[path] == nil {
		d.paths[path] = object{}
	}
	if _, taken := d.paths[path][verb]; !taken {
		d.paths[path][verb] = operation
	}
}

var customVerbs = []string{"get", "put", "post", "delete", "patch"}

// binding describes a rule.
func (d *document) binding(b *binding) {
	input := b.method.Descriptor.Input()
	var parameters []object
	captured := make(map[string]bool)
	for i, v := range b.template.variables {
		captured[b.captures[i].String()] = true
		parameters = append(parameters, object{"name": v.path, "in": "path", "required": true, "schema": d.field(b.captures[i].leaf())})
	}
	operation := d.operation(b.method)
	operation["responses"] = d.responses(b.method, b.response)
	switch b.body {
	case wholeBody:
		operation["requestBody"] = d.body(input)
	case fieldBody:
		captured[string(b.bodyField.Name())] = true
		operation["requestBody"] = d.body(b.bodyField.Message())
		fallthrough
	case noBody:
		parameters = append(parameters, d.query(input, "", captured, nil)...)
	}
	if len(parameters) > 0 {
		operation["parameters"] = parameters
	}
	path := openPath(&b.template)
	if b.verb != "*" {
		d.add(path, strings.ToLower(b.verb), operation)
		return
	}
	for _, verb := range customVerbs {
		d.add(path, verb, operation)
	}
}

// query lists what can be given in a query, fields of messages in fields included.
func (d *document) query(md protoreflect.MessageDescriptor, prefix string, captured map[string]bool, above []protoreflect.FullName) (list []object) {
	if slices.Contains(above, md.FullName()) {
		return nil
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		name := prefix + string(fd.Name())
		switch {
		case captured[name], fd.IsMap():
		case fd.Message() == nil || textual[fd.Message().FullName()]:
			list = append(list, object{"name": name, "in": "query", "schema": d.field(fd)})
		case !fd.IsList():
			list = append(list, d.query(fd.Message(), name+".", captured, append(slices.Clip(above), md.FullName()))...)
		}
	}
	return list
}

// openPath is a template in OpenAPI's form, which has variables of one segment only.
func openPath(t *template) string {
	var b strings.Builder
	for i := 0; i < len(t.segments); i++ {
		b.WriteByte('/')
		at := slices.IndexFunc(t.variables, func(v variable) bool { return v.first == i && v.end > i })
		switch {
		case at >= 0:
			b.WriteString("{" + t.variables[at].path + "}")
			i = t.variables[at].end - 1
		case t.segments[i].kind == literal:
			b.WriteString(t.segments[i].literal)
		default:
			b.WriteString("*")
		}
	}
	if t.verb != "" {
		b.WriteString(":" + t.verb)
	}
	return b.String()
}

// addressed describes the route of a method below /entities/.
func (d *document) addressed(m *method) {
	path := entitiesPath + m.Service
	operation := d.operation(m)
	operation["responses"] = d.responses(m, nil)
	var parameters []object
	if m.addressed() {
		path += "/{id}"
		parameters = append(parameters, idParameter)
		parameters = append(parameters, object{
			"name": "Idempotency-Key", "in": "header", "description": "A second command with the same key has no effect and gets the first one's answer.",
			"schema": object{"type": "string", "maxLength": maxKey},
		})
		operation["parameters"] = parameters
	}
	if m.Descriptor != nil {
		operation["requestBody"] = d.body(m.Descriptor.Input())
	} else {
		operation["requestBody"] = object{"content": object{actors.ContentJSON: object{"schema": listedSchema(m.Input)}}}
	}
	d.add(path+"/"+m.Name, "post", operation)
}

var idParameter = object{
	"name": "id", "in": "path", "required": true, "description": "The entity, percent-encoded once.",
	"schema": object{"type": "string", "minLength": 1, "maxLength": actors.MaxIDBytes},
}

func (d *document) outcomes(s *catalog.Service) {
	d.add(entitiesPath+s.Name+"/{id}/"+outcomesPathElement+"/{key}", "get", object{
		"tags": []string{s.Name}, "operationId": s.Name + ".outcome", "summary": "What became of the command with that idempotency key.",
		"parameters": []object{idParameter, {"name": "key", "in": "path", "required": true, "schema": object{"type": "string"}}},
		"responses": object{
			"200":     object{"description": "It was carried out.", "content": object{actors.ContentJSON: object{"schema": object{"type": "object"}}}},
			"default": problemResponse,
		},
	})
}

func (d *document) operation(m *method) object {
	return object{"tags": []string{m.Service}, "summary": m.Name}
}

// listedSchema is all that is known of a type that the user function named.
func listedSchema(typeURL string) object {
	if name, ok := strings.CutPrefix(typeURL, catalog.JSONPrefix); ok {
		return object{"title": name}
	}
	return object{}
}

var problemResponse = object{
	"description": "It failed. A failure of the handler without a code is a text.",
	"content": object{
		"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}},
		"text/plain":               object{"schema": object{"type": "string"}},
	},
}

func (d *document) body(md protoreflect.MessageDescriptor) object {
	if md.FullName() == httpBody {
		return object{"content": object{"*/*": object{}}}
	}
	return object{"content": object{actors.ContentJSON: object{"schema": d.message(md)}}}
}

func (d *document) responses(m *method, response protoreflect.FieldDescriptor) object {
	schema := listedSchema(m.Output)
	if m.Descriptor != nil {
		schema = d.message(m.Descriptor.Output())
	}
	if response != nil {
		schema = d.field(response)
	}
	content := object{actors.ContentJSON: object{"schema": schema}}
	if m.Descriptor != nil && m.Descriptor.Output().FullName() == httpBody && response == nil {
		content = object{"*/*": object{}}
	} else if m.StreamedOut {
		content["text/event-stream"] = object{"schema": schema}
		content["application/x-ndjson"] = object{"schema": schema}
	}
	return object{"200": object{"description": "The reply.", "content": content}, "default": problemResponse}
}
