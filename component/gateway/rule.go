package gateway

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// httpRule is a google.api.HttpRule. The descriptors of a user function are read without knowing its extension, so that
// it lies among the unknown fields of a method's options, whatever else is linked into this binary.
type httpRule struct {
	selector           string
	verb, path         string
	custom             bool
	body, responseBody string
	additional         []httpRule
}

// The numbers of google/api/annotations.proto and google/api/http.proto.
const (
	httpExtension   = 72295728
	ruleSelector    = 1
	ruleBody        = 7
	ruleCustom      = 8
	ruleAdditional  = 11
	ruleResponse    = 12
	customKind      = 1
	customPath      = 2
	maxRuleNesting  = 8
	wrongAnnotation = "its google.api.http option is not a serialized google.api.HttpRule"
)

var patternVerbs = map[protowire.Number]string{2: "GET", 3: "PUT", 4: "POST", 5: "DELETE", 6: "PATCH"}

// ruleOf returns the rule of a method, nil if it has none.
func ruleOf(md protoreflect.MethodDescriptor) (*httpRule, error) {
	options, err := proto.Marshal(md.Options())
	if err != nil {
		return nil, errors.New(wrongAnnotation)
	}
	var rule *httpRule
	err = fields(options, func(n protowire.Number, value []byte) error {
		if n != httpExtension {
			return nil
		}
		if rule == nil {
			rule = new(httpRule)
		}
		return rule.read(value, 0)
	})
	if err != nil {
		return nil, errors.New(wrongAnnotation)
	}
	return rule, nil
}

// read merges a serialized rule.
func (r *httpRule) read(data []byte, depth int) error {
	if depth > maxRuleNesting {
		return errors.New("nested too deep")
	}
	return fields(data, func(n protowire.Number, value []byte) error {
		switch n {
		case ruleSelector:
			r.selector = string(value)
		case ruleBody:
			r.body = string(value)
		case ruleResponse:
			r.responseBody = string(value)
		case ruleCustom:
			r.custom, r.verb, r.path = true, "", ""
			return fields(value, func(n protowire.Number, value []byte) error {
				switch n {
				case customKind:
					r.verb = string(value)
				case customPath:
					r.path = string(value)
				}
				return nil
			})
		case ruleAdditional:
			var a httpRule
			if err := a.read(value, depth+1); err != nil {
				return err
			}
			r.additional = append(r.additional, a)
		default:
			if verb, ok := patternVerbs[n]; ok {
				r.custom, r.verb, r.path = false, verb, string(value)
			}
		}
		return nil
	})
}

// fields calls f for every field of a message that has a length.
func fields(data []byte, f func(n protowire.Number, value []byte) error) error {
	for len(data) > 0 {
		n, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(n, kind, data); size < 0 {
				return protowire.ParseError(size)
			}
			data = data[size:]
			continue
		}
		value, size := protowire.ConsumeBytes(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		if err := f(n, value); err != nil {
			return err
		}
	}
	return nil
}

// binding is one way to call a method by HTTP.
type binding struct {
	method *method
	// verb is * for any.
	verb     string
	template template
	captures []fieldPath // of the template's variables
	// body says where a request's body goes: nowhere, to the whole input, or to a field.
	body      bodyKind
	bodyField protoreflect.FieldDescriptor
	// response is the field of the output that is the response's body; nil for all of it.
	response protoreflect.FieldDescriptor
}

type bodyKind uint8

const (
	noBody bodyKind = iota
	wholeBody
	fieldBody
)

// fieldPath leads from a message to a field of it or of what it holds.
type fieldPath []protoreflect.FieldDescriptor

func (p fieldPath) leaf() protoreflect.FieldDescriptor { return p[len(p)-1] }

func (p fieldPath) String() string {
	names := make([]string, len(p))
	for i, fd := range p {
		names[i] = string(fd.Name())
	}
	return strings.Join(names, ".")
}

// bindings compiles the rules of a protobuf method, in the order of their declaration.
func bindings(m *method) ([]*binding, error) {
	rule, err := ruleOf(m.Descriptor)
	if err != nil {
		return nil, err
	}
	if rule == nil {
		rule = &httpRule{verb: "POST", path: m.path, body: "*"}
	}
	if full := string(m.Descriptor.FullName()); rule.selector != "" && rule.selector != full {
		return nil, fmt.Errorf("the selector %q of its rule is not the method's own name %s; leave it out", cut(rule.selector), full)
	}
	var list []*binding
	var problems []error
	for i, r := range append([]httpRule{*rule}, rule.additional...) {
		b, err := r.compile(m)
		if err == nil && i > 0 && len(r.additional) > 0 {
			err = errors.New("additional_bindings cannot have additional_bindings of their own")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("rule %s: %w", r, err))
			continue
		}
		list = append(list, b)
	}
	return list, errors.Join(problems...)
}

// String is for error texts.
func (r httpRule) String() string {
	if r.verb == "" && r.path == "" {
		return "without a pattern"
	}
	return r.verb + " " + cut(r.path)
}

func (r httpRule) compile(m *method) (*binding, error) {
	b := &binding{method: m, verb: r.verb}
	switch {
	case r.custom && r.verb != "*":
		return nil, fmt.Errorf("the kind of a custom pattern must be *, for every verb, and is %q", cut(r.verb))
	case r.verb == "":
		return nil, errors.New("it sets no pattern; give it one of get, put, post, delete, patch or custom")
	}
	var err error
	if b.template, err = parseTemplate(r.path); err != nil {
		return nil, err
	}
	var problems []error
	for _, v := range b.template.variables {
		path, err := lookup(m.Descriptor.Input(), v.path)
		if err == nil {
			err = scalar(path)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("the variable {%s}: %w", v.path, err))
			continue
		}
		b.captures = append(b.captures, path)
	}
	switch r.body {
	case "":
	case "*":
		b.body = wholeBody
	default:
		b.body = fieldBody
		if b.bodyField, err = bodyOf(m.Descriptor.Input(), r.body); err != nil {
			problems = append(problems, fmt.Errorf("body: %w", err))
		}
	}
	if r.responseBody != "" {
		out := m.Descriptor.Output()
		if b.response = out.Fields().ByName(protoreflect.Name(r.responseBody)); b.response == nil {
			problems = append(problems, fmt.Errorf("response_body: %s has no field %q", out.FullName(), cut(r.responseBody)))
		}
	}
	return b, errors.Join(problems...)
}

func bodyOf(md protoreflect.MessageDescriptor, name string) (protoreflect.FieldDescriptor, error) {
	fd := md.Fields().ByName(protoreflect.Name(name))
	switch {
	case fd == nil:
		return nil, fmt.Errorf("%s has no field %q", md.FullName(), cut(name))
	case fd.Cardinality() == protoreflect.Repeated:
		return nil, fmt.Errorf("the field %s is repeated, and a body is one message", fd.FullName())
	case fd.Message() == nil:
		return nil, fmt.Errorf("the field %s is no message, and a body is one", fd.FullName())
	}
	return fd, nil
}

// lookup finds a field by a dotted path of names, each as it was declared or as JSON has it.
func lookup(md protoreflect.MessageDescriptor, dotted string) (fieldPath, error) {
	var path fieldPath
	names := strings.Split(dotted, ".")
	for i, name := range names {
		fd := md.Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			fd = md.Fields().ByJSONName(name)
		}
		switch {
		case fd == nil:
			return nil, fmt.Errorf("%s has no field %q", md.FullName(), cut(name))
		case i < len(names)-1 && (fd.Message() == nil || fd.Cardinality() == protoreflect.Repeated):
			return nil, fmt.Errorf("the field %s has no fields in it that a path could name", fd.FullName())
		}
		path = append(path, fd)
		md = fd.Message()
	}
	return path, nil
}

// scalar reports whether one text can be the value of the field.
func scalar(path fieldPath) error {
	switch fd := path.leaf(); {
	case fd.IsMap():
		return fmt.Errorf("the field %s is a map, and one value cannot fill it", fd.FullName())
	case fd.Cardinality() == protoreflect.Repeated:
		return fmt.Errorf("the field %s is repeated, and one value cannot fill it", fd.FullName())
	case fd.Message() != nil && !textual[fd.Message().FullName()]:
		return fmt.Errorf("the field %s is a message, and a text cannot fill it; name a field in it", fd.FullName())
	}
	return nil
}
