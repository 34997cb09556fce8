package sdk

import "strings"

// Method is a method's full name, "package.Service/Method", with the types of its input and output. It is a constant
// that callers and the entity share:
//
//	const AddItem sdk.Method[Line, struct{}] = "shop.v1.ShoppingCart/AddItem"
//
// In and Out are plain Go types, which travel as JSON, or pointers to generated protobuf messages. For a method without
// input or reply use struct{} or *emptypb.Empty.
type Method[In, Out any] string

// Service is the part before the last slash.
func (m Method[In, Out]) Service() string {
	service, _ := m.split()
	return service
}

// Name is the part after the last slash.
func (m Method[In, Out]) Name() string {
	_, name := m.split()
	return name
}

func (m Method[In, Out]) split() (service, name string) {
	i := strings.LastIndexByte(string(m), '/')
	if i < 0 {
		return "", string(m)
	}
	return string(m[:i]), string(m[i+1:])
}

// On addresses the method to an entity.
func (m Method[In, Out]) On(id string, in In) Call[In, Out] {
	return Call[In, Out]{Method: m, ID: id, Input: in}
}

// With addresses the method to an action, which has no id; or to the entity that a key field of a protobuf input names.
func (m Method[In, Out]) With(in In) Call[In, Out] {
	return Call[In, Out]{Method: m, Input: in}
}

// Call is a command for one entity or action, not yet sent. Invoke sends it.
type Call[In, Out any] struct {
	Method Method[In, Out]
	ID     string
	Input  In
}
