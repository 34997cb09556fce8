package feed

import "sync"

// mailbox takes what a loop is to do next. It has no bound of its own: its posters are bounded by what the loop has begun.
type mailbox struct {
	bell chan struct{} // rings when there is something in it

	mu   sync.Mutex // guards what follows
	list []func()
	rung bool
}

func newMailbox() *mailbox { return &mailbox{bell: make(chan struct{}, 1)} }

// post has the loop call f.
func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.list = append(m.list, f)
	m.mu.Unlock()
	m.wake()
}

// ring tells the loop that there may be something in the journal.
func (m *mailbox) ring() {
	m.mu.Lock()
	m.rung = true
	m.mu.Unlock()
	m.wake()
}

func (m *mailbox) wake() {
	select {
	case m.bell <- struct{}{}:
	default:
	}
}

// empty it: what is to be called, and whether somebody rang.
func (m *mailbox) empty() (list []func(), rung bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list, rung = m.list, m.rung
	m.list, m.rung = nil, false
	return list, rung
}
