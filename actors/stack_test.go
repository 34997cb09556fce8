package actors_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/dapr-entities/entities/actors"
)

// TestGrowStack counts the bytes of stack of goroutines that have grown theirs and then wait. Larger stacks than 16 KiB
// would not come from what the runtime keeps at hand.
func TestGrowStack(t *testing.T) {
	const n = 512
	var (
		before, after runtime.MemStats
		grown, ended  sync.WaitGroup
		end           = make(chan struct{})
	)
	runtime.ReadMemStats(&before)
	grown.Add(n)
	for range n {
		ended.Go(func() {
			actors.GrowStack()
			grown.Done()
			<-end
		})
	}
	grown.Wait()
	runtime.ReadMemStats(&after)
	close(end)
	ended.Wait()
	if each := float64(after.StackInuse-before.StackInuse) / n / 1024; each < 14 || each > 18 {
		t.Errorf("a stack has %.1f KiB, want 16", each)
	}
}
