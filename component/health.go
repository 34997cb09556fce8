package component

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/userfunction"
)

// pingTimeout bounds what a readiness probe waits for the journal; Kubernetes' own default is 1 s.
const pingTimeout = 900 * time.Millisecond

// addChecks tells the admin server what readiness asks: whether there is a host, and whether each of its parts is ready.
func (c *Component) addChecks() {
	c.admin.Check("host", func() error {
		problem := c.problem.Load()
		switch {
		case c.stopping.Load():
			return errors.New("stopping")
		case c.host.Load() != nil:
			return nil
		case problem != nil:
			return fmt.Errorf("not started: %w", *problem)
		default:
			return errors.New("nothing has said what to host: waiting for the sidecar to initialise the component state.entities")
		}
	})
	for name, check := range map[string]func(*host) error{
		"journal":         (*host).journalReady,
		"userFunction":    (*host).functionReady,
		"actorTypes":      (*host).actorsReady,
		"journalIdentity": (*host).kinReady,
		"topics":          (*host).topicsReady,
		"replication":     (*host).replicasReady,
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
	if err := h.journal.Ping(ctx); err != nil {
		return fmt.Errorf("the journal cannot be written to: %w", err)
	}
	return nil
}

// functionReady lets the absence of a user function pass in a host that may do without: an application that only wants
// the state store has no handlers.
func (h *host) functionReady() error {
	if h.function == nil {
		return nil
	}
	err := h.function.Ready()
	if h.settings.Host == config.HostAuto && errors.Is(err, userfunction.ErrAbsent) {
		return nil
	}
	return err
}

// actorsReady has nothing to say before it is known what to host.
func (h *host) actorsReady() error {
	if h.catalog.Load() == nil {
		return nil
	}
	return h.actors.Ready()
}

func (h *host) topicsReady() error {
	if h.topics == nil {
		return nil
	}
	return h.topics.ready()
}

func (h *host) replicasReady() error {
	if h.replicas == nil {
		return nil
	}
	return h.replicas.check()
}
