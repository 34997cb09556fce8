package crash

import (
	"slices"
	"sync"
	"time"
)

// kind of an operation on an account.
type kind string

const (
	deposit  kind = "deposit"
	withdraw kind = "withdraw"
	get      kind = "get"
)

// verdict is what the client was told in the end.
type verdict string

const (
	// done: the reply arrived.
	done verdict = "done"
	// refused: the handler said no (the account did not hold enough).
	refused verdict = "refused"
	// unknown: no answer that settles it. The journal tells whether it happened.
	unknown verdict = "unknown"
)

// operation is one logical command: it begins at the first attempt and ends with the last retry's answer, so that a
// retry that is applied again shows up as an operation that no order explains.
type operation struct {
	Client   int           `json:"client"`
	Account  string        `json:"account"`
	Kind     kind          `json:"kind"`
	Amount   int64         `json:"amount,omitempty"`
	Key      string        `json:"key"`
	Call     time.Duration `json:"call"`
	Return   time.Duration `json:"return"`
	Verdict  verdict       `json:"verdict"`
	Sequence int64         `json:"sequence,omitempty"`
	Balance  int64         `json:"balance,omitempty"`
	Attempts int           `json:"attempts"`
	// Sidecar that got the first attempt, by its place among the hosts.
	Sidecar int    `json:"sidecar"`
	Error   string `json:"error,omitempty"`
}

// history collects operations. Times are monotonic, since its start, so that the order is real on one machine.
type history struct {
	start time.Time
	mu    sync.Mutex
	ops   []operation
}

func newHistory() *history { return &history{start: time.Now()} }

func (h *history) now() time.Duration { return time.Since(h.start) }

func (h *history) add(o operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// soFar returns the operations that have ended.
func (h *history) soFar() []operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

// counts tells how many operations came to each verdict.
func (h *history) counts() map[verdict]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := map[verdict]int{}
	for _, o := range h.ops {
		n[o.Verdict]++
	}
	return n
}
