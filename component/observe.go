package component

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/admin"
)

// observer feeds the metrics from the engine.
func (c *Component) observer() engine.Observer {
	m := c.metrics
	return engine.Observer{
		Activated: func(service string, events int, took time.Duration) {
			m.Activated(service, events, took)
			m.SessionOpened(service)
		},
		Passivated: func(service string, reason engine.Reason) {
			m.Passivated(service, string(reason))
			m.SessionClosed(service, reason == engine.Broken)
		},
		Turned: m.Turned, Appended: m.Appended, Checked: m.Checked,
		Conflicted: m.Conflicted, Resolved: m.Resolved, Limited: m.Limited,
	}
}

// gauges are read from whichever host runs.
func (c *Component) gauges() admin.Gauges {
	stat := func(read func(engine.Stats) int) func() float64 {
		return func() float64 {
			if h := c.host.Load(); h != nil && h.engine != nil {
				return float64(read(h.engine.Stats()))
			}
			return 0
		}
	}
	return admin.Gauges{
		Resident: stat(func(s engine.Stats) int { return s.Resident }),
		Owned:    stat(func(s engine.Stats) int { return s.Owned }),
		InFlight: stat(func(s engine.Stats) int { return s.InFlight }),
		Bytes:    stat(func(s engine.Stats) int { return s.Bytes }),
	}
}

// observeRequest feeds the metrics from the building blocks.
func (c *Component) observeRequest(method string, code codes.Code, took time.Duration) {
	c.metrics.Request(method, code.String(), took)
}
