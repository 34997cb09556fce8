package component

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
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

// streams feeds the metrics from the host of replicated entities.
func (c *Component) streams() replica.Observer {
	m := c.metrics
	return replica.Observer{
		Activated: func(service string, took time.Duration) {
			m.Activated(service, 0, took)
			m.SessionOpened(service)
		},
		Passivated: func(service string, reason replica.Reason) {
			m.Passivated(service, string(reason))
			m.SessionClosed(service, reason == replica.Broken)
		},
		Answered: m.Turned, Limited: m.Limited,
	}
}

// copies feeds the metrics and the log from this node's copies of replicated entities.
func (c *Component) copies() node.Observer {
	m := c.metrics
	trouble := func(what, text string) func(actors.Ref, error) {
		return func(ref actors.Ref, err error) {
			m.ReplicaTroubled(ref.Service, what)
			c.log.Warn(text, "entity", ref.String(), keyError, err)
		}
	}
	return node.Observer{
		Published: func(_, _ int, took time.Duration, err error) { m.ReplicaPublished(took, err) },
		Flushed:   func(_ int, took time.Duration, err error) { m.ReplicaStored(took, err) },
		Confirmed: func(level replica.Level, took time.Duration, err error) {
			m.ReplicaConfirmed(level.String(), took, err)
		},
		Refused: m.ReplicaDropped, Pulled: m.ReplicaPulled, Repaired: m.ReplicaRepaired,
		Rejected:   trouble("rejected", "a change of a replicated entity was not joined; the entity stays as it was"),
		Unloadable: trouble("unloadable", "a replicated entity cannot be read from the journal"),
		Unstored:   trouble("unstored", "a replicated entity cannot be written to the journal; it is tried again"),
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
