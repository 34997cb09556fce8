package daprapi

import (
	"context"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
)

// Sidecar is what the sidecar says of itself.
type Sidecar struct {
	AppID      string
	Version    string
	Components []Component
	Actors     Actors
}

// Component is one that the sidecar has loaded.
type Component struct {
	Name         string
	Type         string
	Version      string
	Capabilities []string
}

// Actors is the state of the sidecar's actor runtime.
type Actors struct {
	// Enabled is false if the sidecar has no placement service.
	Enabled bool
	// Registered says that a host has registered its types, be they none.
	Registered bool
	// Ready says that actors can be hosted: there is a placement connection.
	Ready bool
	// Placement is daprd's text about its connection to the placement service.
	Placement string
	// Active counts the active actors of every hosted type.
	Active map[string]int
}

// Component returns the loaded component with that name.
func (s Sidecar) Component(name string) (Component, bool) {
	for _, c := range s.Components {
		if c.Name == name {
			return c, true
		}
	}
	return Component{}, false
}

// Metadata asks the sidecar about itself.
func (c *Client) Metadata(ctx context.Context) (Sidecar, error) {
	m, err := c.dapr.GetMetadata(ctx, &runtime.GetMetadataRequest{})
	if err != nil {
		return Sidecar{}, c.refused("query", err)
	}
	s := Sidecar{AppID: m.GetId(), Version: m.GetRuntimeVersion()}
	for _, r := range m.GetRegisteredComponents() {
		s.Components = append(s.Components, Component{
			Name: r.GetName(), Type: r.GetType(), Version: r.GetVersion(), Capabilities: r.GetCapabilities(),
		})
	}
	a := m.GetActorRuntime()
	s.Actors = Actors{
		Enabled:    a.GetRuntimeStatus() != runtime.ActorRuntime_DISABLED,
		Registered: a.GetRuntimeStatus() == runtime.ActorRuntime_RUNNING,
		Ready:      a.GetHostReady(),
		Placement:  a.GetPlacement(),
		Active:     make(map[string]int, len(a.GetActiveActors())),
	}
	for _, active := range a.GetActiveActors() {
		s.Actors.Active[active.GetType()] = int(active.GetCount())
	}
	return s, nil
}
