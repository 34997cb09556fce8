package component

import (
	"github.com/dapr-entities/entities/component/actorhost"
	"github.com/dapr-entities/entities/component/catalog"
)

// newActorHost makes the host that settings ask for: one that dials the sidecar, or one that the sidecar dials.
func (h *host) newActorHost(c *Component) (actorhost.Host, error) {
	settings := h.settings
	base := actorhost.Config{
		Dial: h.sidecar.Connect, Catalog: h.catalog.Load, Entities: h.engine, Replicated: h.router,
		Reserved:     map[string]actorhost.Entities{catalog.JournalActorType: h.kin},
		DrainTimeout: settings.DrainTimeout, StopTimeout: settings.DrainTimeout,
		MaxReply: int(settings.MaxReply), MaxInFlight: settings.MaxInFlight,
		Finish:  h.router.Finish,
		Observe: c.metrics.ActorStream, Log: c.log,
	}
	if settings.AppPort == "" {
		return actorhost.New(base)
	}
	return actorhost.NewChannel(base, actorhost.ChannelConfig{
		Address: settings.AppPort, Upstream: settings.Upstream, Token: settings.AppAPIToken.Reveal(),
		MaxRequest: int(settings.MaxMessage),
	})
}
