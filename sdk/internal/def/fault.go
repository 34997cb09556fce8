package def

import (
	"errors"
	"fmt"
	"runtime/debug"
)

func (f *Fault) Error() string { return fmt.Sprint("panic: ", f.Value) }

// Unwrap returns the panic's value if that is an error.
func (f *Fault) Unwrap() error {
	err, _ := f.Value.(error)
	return err
}

// Contain runs fn and returns the panic that it ended with, if any.
func Contain(fn func()) (fault *Fault) {
	defer func() {
		if v := recover(); v != nil {
			fault = &Fault{Value: v, Stack: debug.Stack()}
		}
	}()
	fn()
	return nil
}

// StackOf returns the stack of the panic in err's chain, or nil.
func StackOf(err error) []byte {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f.Stack
	}
	return nil
}
