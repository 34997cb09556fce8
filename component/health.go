package component

import (
	"context"
	"errors"
	"time"

	"github.com/dapr-entities/entities/component/config"
)

// pingTimeout bounds what a readiness probe waits for the journal; Kubernetes' own default is 1 s.
const pingTimeout = 900 * time.Millisecond

// addChecks tells the admin server what readiness asks: whether there is a host, and whether each of its parts is ready.
func (c *Component) addChecks() {
	c.admin.Check("host", func() error {
		switch h := c.host.Load(); {
		case h == nil:
			return errors.New("nothing has said what to host: waiting for the sidecar to initialise the component state.entities")
		case h.stopping.Load():
			return errors.New("stopping")
		}
		return nil
	})
	for name, check := range map[string]func(*host) error{
		"journal":         (*host).journalReady,
		"userFunction":    (*host).functionReady,
		"actorTypes":      (*host).actorsReady,
		"journalIdentity": (*host).kinReady,
	} {
		c.admin.Check(name, func() error {
			if h := c.host.Load(); h != nil {
				return check(h)
			}
			return nil
		})
	}
}

func (h *host) journalReady() error {
	if h.journal == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
	defer cancel()
	return h.journal.Ping(ctx)
}

// optional says that no user function has been found and none is missed: an application that only wants the state store
// has no handlers.
func (h *host) optional() bool {
	return h.function == nil || h.settings.Host == config.HostAuto && h.catalog.Load() == nil
}

func (h *host) functionReady() error {
	if h.optional() {
		return nil
	}
	return h.function.Ready()
}

func (h *host) actorsReady() error {
	if h.optional() {
		return nil
	}
	return h.actors.Ready()
}
