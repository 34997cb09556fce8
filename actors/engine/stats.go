package engine

// Stats are what an Engine holds at one moment.
type Stats struct {
	// Resident entities are in memory, Owned ones are placed here.
	Resident, Owned int
	// InFlight commands, waiting ones included, and their Bytes with what came of them.
	InFlight, Bytes int
}

// Stats returns them. It takes the engine's mutex for an instant.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Stats{Resident: len(e.instances), Owned: len(e.owned), InFlight: e.inflight, Bytes: e.buffered}
}

// CommandID is the id under which the journal records a command that came with an idempotency key.
func CommandID(key string) string { return keyPrefix + key }
