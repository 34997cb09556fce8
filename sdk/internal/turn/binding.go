package turn

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
)

// Binding is a method that has been given a handler: what lies between the handler's types and the encoded form.
type Binding[In, Out any] struct {
	Service, Name string
	// Err joins what is wrong with it.
	Err error

	in      codec.Codec[In]
	out     codec.Codec[Out]
	options []sdk.MethodOption
}

// Bind makes the binding of a method. missing says that the handler is nil.
func Bind[In, Out any](method sdk.Method[In, Out], missing bool, options []sdk.MethodOption) Binding[In, Out] {
	b := Binding[In, Out]{Service: method.Service(), Name: method.Name(), options: options}
	var problems []error
	if b.Service == "" || b.Name == "" {
		problems = append(problems, fmt.Errorf("method %q is not of the form package.Service/Method", string(method)))
	}
	var err error
	if b.in, err = codec.For[In](b.Name + ".in"); err != nil {
		problems = append(problems, fmt.Errorf("input: %w", err))
	}
	if b.out, err = codec.For[Out](b.Name + ".out"); err != nil {
		problems = append(problems, fmt.Errorf("reply: %w", err))
	}
	if missing {
		problems = append(problems, errors.New("the handler is nil"))
	}
	b.Err = errors.Join(problems...)
	return b
}

// Method is for discovery. It is asked late: see codec.Codec. The error joins what is wrong with the options.
func (b Binding[In, Out]) Method() (def.Method, error) {
	m := def.Method{Name: b.Name, Input: b.in.Name(), Output: b.out.Name(), In: b.in.Descriptor(), Out: b.out.Descriptor()}
	err := declare(&m, b.options)
	return m, err
}

// Decode is the handler's input.
func (b Binding[In, Out]) Decode(payload *anypb.Any) (In, error) {
	in, err := b.in.Unpack(payload)
	if err != nil {
		return in, sdk.Errorf(sdk.CodeInvalidArgument, "decode the input of %s: %w", b.Name, err)
	}
	return in, nil
}

// Encode is what the handler returned. There is no reply if the turn was forwarded.
func (b Binding[In, Out]) Encode(s *Sent, reply Out, err error) (*anypb.Any, error) {
	if err != nil || s != nil && s.Forward != nil {
		return nil, err
	}
	p, err := b.out.Pack(reply)
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeInternal, "encode the reply of %s: %w", b.Name, err)
	}
	return p, nil
}

// Problems of the settings that all kinds of placed entities have.
func Problems(service, persistenceID string, idle time.Duration, commands int) (problems []error) {
	if !protoreflect.FullName(service).IsValid() {
		problems = append(problems, fmt.Errorf("Service %q is not a full name such as shop.v1.ShoppingCart", service))
	}
	if commands == 0 {
		problems = append(problems, errors.New("there are no Commands"))
	}
	if strings.ContainsFunc(persistenceID, unicode.IsControl) {
		problems = append(problems, fmt.Errorf("PersistenceID %q contains a control character", persistenceID))
	}
	if idle < 0 || idle%time.Millisecond != 0 {
		problems = append(problems, fmt.Errorf("Idle is %v, want a positive number of milliseconds", idle))
	}
	return problems
}
