package component

import (
	"context"
	"errors"
	"time"

	"github.com/dapr-entities/entities/component/config"
)

// pingTimeout bounds what a readiness probe waits for the journal; Kubernetes' own default is 1 s.
const pingTimeout = 900 * time.Millisecond

// checks says of each part whether it is ready.
func (h *host) checks() map[string]error {
	all := map[string]error{}
	if h.stopping.Load() {
		all["host"] = errors.New("stopping")
	}
	if h.journal != nil {
		ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
		defer cancel()
		all["journal"] = h.journal.Ping(ctx)
	}
	if h.function == nil {
		return all
	}
	// An application that only wants the state store has no user function, and is ready without one.
	if h.settings.Host == config.HostAuto && h.catalog.Load() == nil {
		return all
	}
	all["userFunction"] = h.function.Ready()
	all["actorTypes"] = h.actors.Ready()
	return all
}
