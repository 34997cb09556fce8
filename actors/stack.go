package actors

import "runtime"

// GrowStack gives the calling goroutine the stack that a command takes on its way, in one step and while there is next to
// nothing on it. A new goroutine's stack is small, and is else doubled three times in the midst of the way, each time
// with all its frames to be found and moved: a tenth of a component's processor time. It is for goroutines that carry
// out one command and end.
//
//go:noinline
func GrowStack() {
	// Brings 2 KiB to 16, the largest stack that the runtime keeps at hand for the next goroutine; some is in use.
	var room [10 << 10]byte
	runtime.KeepAlive(&room)
}
