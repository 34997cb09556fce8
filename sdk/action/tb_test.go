package action_test

import (
	"context"
	"io"
	"testing"
)

// t stands for the *testing.T that an example does not have.
var t exampleTB

type exampleTB struct{ testing.TB }

func (exampleTB) Helper()                      {}
func (exampleTB) Context() context.Context     { return context.Background() }
func (exampleTB) Output() io.Writer            { return io.Discard }
func (exampleTB) Fatalf(f string, args ...any) { panic("the example fails: " + f) }
