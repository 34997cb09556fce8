package userfunction

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/actors/replica"
)

// halfClosing counts how often a stream is half-closed.
type halfClosing struct {
	grpc.ClientStream
	times int
}

func (h *halfClosing) CloseSend() error {
	h.times++
	return nil
}

// A session that is closed while the host judges an answer is half-closed once, by whoever comes last; one that made a
// mistake is not, for it is cancelled.
func TestCloseWhileAnswering(t *testing.T) {
	t.Parallel()
	mistake := errors.New("a mistake")
	for name, test := range map[string]struct {
		before, during, after bool
		mistaken              bool
		says                  error
		want                  int
	}{
		"closed before":                 {before: true, want: 1},
		"closed meanwhile":              {during: true, want: 1},
		"closed afterwards":             {after: true, want: 1},
		"closed again and again":        {before: true, during: true, after: true, want: 1},
		"closed for a stray answer":     {during: true, says: replica.ErrStray, want: 1},
		"closed for a mistake":          {during: true, says: mistake},
		"closed for one that was known": {during: true, mistaken: true},
		"closed after a mistake":        {after: true, says: mistake},
		"closed before a mistake":       {before: true, says: mistake, want: 1},
		"not closed, and not a mistake": {},
		"not closed, though a mistake":  {says: mistake},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := new(halfClosing)
			s := &shared{
				function: &replicated{service: &service{client: &Client{config: Config{CloseGrace: time.Hour}}}},
				stream:   stream, cancel: func() {},
			}
			closeIf := func(now bool) {
				if now {
					s.Close()
				}
			}
			s.start.Answer = func(replica.Answer) error {
				closeIf(test.during)
				return test.says
			}
			closeIf(test.before)
			if err := s.answer(replica.Answer{}, test.mistaken); !errors.Is(err, test.says) {
				t.Errorf("the host said %v, and it is told %v", test.says, err)
			}
			closeIf(test.after)
			if stream.times != test.want {
				t.Errorf("half-closed %d times, want %d", stream.times, test.want)
			}
		})
	}
}
