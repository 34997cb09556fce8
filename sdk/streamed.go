package sdk

// StreamIn is the full name of an action's method that takes any number of inputs and replies once. Like Method it is a
// constant with the types of input and reply, and a handler of another shape does not compile.
type StreamIn[In, Out any] string

// Service is the part before the last slash.
func (m StreamIn[In, Out]) Service() string { return Method[In, Out](m).Service() }

// Name is the part after the last slash.
func (m StreamIn[In, Out]) Name() string { return Method[In, Out](m).Name() }

// StreamOut is the full name of an action's method that takes one input and replies any number of times.
type StreamOut[In, Out any] string

// Service is the part before the last slash.
func (m StreamOut[In, Out]) Service() string { return Method[In, Out](m).Service() }

// Name is the part after the last slash.
func (m StreamOut[In, Out]) Name() string { return Method[In, Out](m).Name() }

// Duplex is the full name of an action's method that takes any number of inputs and replies any number of times, in
// whatever order it likes.
type Duplex[In, Out any] string

// Service is the part before the last slash.
func (m Duplex[In, Out]) Service() string { return Method[In, Out](m).Service() }

// Name is the part after the last slash.
func (m Duplex[In, Out]) Name() string { return Method[In, Out](m).Name() }
