package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Run carries appends to the journal, asks it, and passivates, until ctx ends. Then it gives up the commands that were
// not begun and ends the running turns; appends that were decided are waited for. It returns when nothing is left of
// the engine: no goroutine and no session. For an end without losers, Drain first. It can be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	again := e.ran
	e.ran = true
	e.unlock()
	if again {
		return errors.New("run the engine: it was run before")
	}
	stop := make(chan struct{})
	var loops sync.WaitGroup
	loops.Go(func() { e.commit(stop) })
	loops.Go(func() { e.check(stop) })
	loops.Go(func() { e.sweep(stop) })
	<-ctx.Done()
	e.mu.Lock()
	e.stopping = true
	left := e.inflight
	e.giveUp()
	quiet := e.halted()
	e.unlock()
	<-quiet
	close(stop)
	loops.Wait()
	e.workers.Wait()
	e.config.Log.Info("engine stopped", "commands_given_up", left)
	return nil
}

// Drain refuses new commands from now on, with the code Unavailable, and waits until those that were taken are answered
// and every session is closed, or until ctx ends.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.stopping = true
	quiet := e.halted()
	e.unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		e.mu.Lock()
		left := e.inflight
		e.unlock()
		return fmt.Errorf("drain the engine: %d commands are left: %w", left, ctx.Err())
	}
}
