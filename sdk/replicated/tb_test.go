package replicated_test

import (
	"context"
	"io"
	"testing"
)

// example gives an example, which has no *testing.T, what a test would have.
func example(f func(testing.TB)) { f(exampleTB{}) }

type exampleTB struct{ testing.TB }

func (exampleTB) Helper()                      {}
func (exampleTB) Context() context.Context     { return context.Background() }
func (exampleTB) Output() io.Writer            { return io.Discard }
func (exampleTB) Errorf(f string, args ...any) { panic("the example fails: " + f) }
func (exampleTB) Fatalf(f string, args ...any) { panic("the example fails: " + f) }
