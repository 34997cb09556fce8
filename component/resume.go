package component

import (
	"context"
	"time"

	"github.com/dapr-entities/entities/component/building"
	"github.com/dapr-entities/entities/component/daprapi"
)

// resume goes on where an earlier life of this component ended. A sidecar does not repeat Init when only its component
// restarts, so the last one is taken from the file in which it was kept, but only if the sidecar still lists the
// component: the file may be older than the sidecar, and a sidecar that is only now starting will say itself what it
// wants.
func (c *Component) resume(ctx context.Context) error {
	kept, err := c.building.Kept()
	if err != nil {
		c.log.Warn("the last Init cannot be resumed; restart the sidecar if it does not restart by itself", "error", err)
		return nil
	}
	for _, k := range kept {
		if err := c.resumeOne(ctx, k); err != nil && ctx.Err() == nil {
			c.log.Warn("the last Init is not resumed", "component", k.String(), "error", err)
		}
	}
	return nil
}

func (c *Component) resumeOne(ctx context.Context, k building.Kept) error {
	settings, err := c.building.Settings(k)
	if err != nil {
		return err
	}
	sidecar, err := daprapi.Dial(daprapi.Config{Endpoint: settings.DaprGRPCEndpoint, Token: string(settings.DaprAPIToken)})
	if err != nil {
		return err
	}
	defer sidecar.Close()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		if c.building.Initialised(k) {
			return nil // the sidecar has said it again itself
		}
		if about, err := sidecar.Metadata(ctx); err == nil {
			if _, listed := about.Component(k.Name); listed {
				c.log.Info("resuming the sidecar's last Init", "component", k.String())
				return c.building.Resume(ctx, k)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
