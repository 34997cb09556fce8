package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What is exchanged with one member holds up the next question to it, and to nobody else.
func TestRepairIsPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := pace{perSecond: 1000}
		a, b := identity{1, 1}, identity{2, 1}
		began := time.Now()
		for range 10 {
			if !p.wait(t.Context(), a) {
				t.Fatal("it does not wait")
			}
			p.spent(a, 500)
		}
		if took := time.Since(began); took != 4500*time.Millisecond {
			t.Errorf("ten times 500 bytes at 1,000 a second went in %v", took)
		}
		before := time.Now()
		if !p.wait(t.Context(), b) || time.Since(before) != 0 {
			t.Error("another member waits, too")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if p.wait(ctx, a) {
			t.Error("it waits beyond the end")
		}
		time.Sleep(time.Hour) // nothing is saved up
		p.spent(b, 1)
		if len(p.free) != 1 {
			t.Errorf("%d members are remembered", len(p.free))
		}
		p.spent(a, 2000)
		before = time.Now()
		if !p.wait(t.Context(), a) || time.Since(before) != 2*time.Second {
			t.Errorf("it waited %v", time.Since(before))
		}
	})
}
