package engine

// How far a session is given commands ahead of their turn. The user function is next to us and works through what it has
// in order, so a few commands are enough to keep it busy; giving more only when half of them are done lets them travel
// together. The bytes stay far below what the transport takes without waiting for the user function to read.
const (
	aheadCommands = 16
	aheadBytes    = 32 << 10
)

// lookAhead marks commands of the queue as given to the session, and puts their turns into i.ahead: w's, unless it was
// given before, and those of further commands. Such a command stays in its place in the queue, in the stage handling,
// until its answer is the next one to come; if the session ends before that, it is as if it had never been given.
func (e *Engine) lookAhead(i *instance, w *work, given bool) {
	i.ahead = i.ahead[:0]
	if _, ok := i.session.(Ahead); !ok || i.queue.n == 0 {
		return
	}
	out, size := 0, 0
	next := i.queue.first
	for ; next != nil && next.stage == handling; next = next.next {
		out++
		size += len(next.command.Payload.Data)
	}
	if out > aheadCommands/2 {
		return
	}
	if !given {
		i.ahead = append(i.ahead, Turn{Command: w.command, Sequence: i.sequence})
	}
	for ; next != nil && out < aheadCommands; next = next.next {
		if size += len(next.command.Payload.Data); size > aheadBytes {
			break
		}
		out++
		next.stage = handling
		i.ahead = append(i.ahead, Turn{Command: next.command, Sequence: UnknownSequence})
	}
	if len(i.ahead) == 1 && !given {
		i.ahead = i.ahead[:0] // w alone: Handle gives it
	}
}

// takeBack forgets what was given ahead to a session that is over.
func (i *instance) takeBack() {
	for w := i.queue.first; w != nil; w = w.next {
		w.stage = queued
	}
	clear(i.ahead)
	i.ahead = nil
}
