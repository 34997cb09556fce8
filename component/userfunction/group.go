package userfunction

import "sync"

// group owns goroutines that outlive their callers. It takes work only while it is open.
type group struct {
	limit int

	mu      sync.Mutex
	running int
	taking  bool
	wg      sync.WaitGroup
}

func (g *group) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taking = true
}

// try runs f in a goroutine and reports whether it does: not when the group is not open, or has as many as it may.
func (g *group) try(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.taking || g.running >= g.limit {
		return false
	}
	g.running++
	g.wg.Go(func() {
		defer func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.running--
		}()
		f()
	})
	return true
}

// wait closes the group and waits for what runs in it.
func (g *group) wait() {
	g.mu.Lock()
	g.taking = false
	g.mu.Unlock()
	g.wg.Wait()
}
