package building

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/metadata"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/config"
)

// The component types, with the socket's usual name. They are names for people and for the init file.
const (
	stateType   = "state.entities"
	bindingType = "bindings.entities"
)

// instanceKey: a state store and a binding may have the same name.
type instanceKey struct{ typ, name string }

type instance struct {
	config     config.Config
	properties map[string]string
}

// instances are the components that sidecars have initialised.
type instances struct {
	config Config
	file   *initFile
	// turn is held by the one Init that is under way. It is a channel so that waiting for it can end.
	turn chan struct{}

	mu  sync.RWMutex
	all map[instanceKey]*instance
	// failed remembers why an instance is not there.
	failed map[instanceKey]string
}

func newInstances(c Config, f *initFile) *instances {
	return &instances{
		config: c, file: f, turn: make(chan struct{}, 1), all: map[instanceKey]*instance{}, failed: map[instanceKey]string{},
	}
}

// nameOf returns the component's name, which the sidecar sends with every request.
func nameOf(ctx context.Context) string {
	if v := metadata.ValueFromIncomingContext(ctx, "x-component-instance"); len(v) > 0 {
		return v[0]
	}
	return ""
}

// get returns the instance that a request is for.
func (in *instances) get(ctx context.Context, typ string) (*instance, error) {
	key := instanceKey{typ, nameOf(ctx)}
	in.mu.RLock()
	defer in.mu.RUnlock()
	if i := in.all[key]; i != nil {
		return i, nil
	}
	if why := in.failed[key]; why != "" {
		return nil, actors.Errorf(actors.FailedPrecondition, "%s %q is not initialised, the last attempt ended with: %s", typ, key.name, why)
	}
	return nil, actors.Errorf(actors.FailedPrecondition,
		"%s %q is not initialised; the component was restarted without the metadata of its sidecar (see initFile): restart the sidecar",
		typ, key.name)
}

// host returns the initialised host other than name, "" if there is none.
func (in *instances) otherHost(name string) (string, bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for key := range in.all {
		if key.typ == stateType && key.name != name {
			return key.name, true
		}
	}
	return "", false
}

// init takes the metadata of an Init, from the sidecar or from the init file.
func (in *instances) init(ctx context.Context, key instanceKey, properties map[string]string, fromSidecar bool) error {
	select {
	case in.turn <- struct{}{}:
		defer func() { <-in.turn }()
	case <-ctx.Done():
		return actors.Errorf(actors.DeadlineExceeded, "initialise %s %q: another Init is still under way: %w", key.typ, key.name, ctx.Err())
	}
	in.mu.RLock()
	before := in.all[key]
	in.mu.RUnlock()
	if before != nil && !fromSidecar {
		return nil // the sidecar was faster
	}
	err := in.change(ctx, key, before, properties)
	in.mu.Lock()
	if err != nil {
		delete(in.all, key)
		in.failed[key] = err.Error()
	} else {
		delete(in.failed, key)
	}
	in.mu.Unlock()
	if err == nil && fromSidecar {
		in.keep()
	}
	return err
}

// change brings the instance to new settings. It is called in turn.
func (in *instances) change(ctx context.Context, key instanceKey, before *instance, properties map[string]string) error {
	scope, callback := config.State, in.config.OnInit
	if key.typ == bindingType {
		scope, callback = config.Binding, in.config.OnClient
	}
	c, err := config.Resolve(scope, append(slices.Clone(in.config.Base), properties)...)
	if err != nil {
		return actors.Errorf(actors.InvalidArgument, "%s %q: %s", key.typ, key.name, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	c.Name = key.name
	if other, exists := in.otherHost(key.name); exists && key.typ == stateType {
		return actors.Errorf(actors.FailedPrecondition,
			"%s %q is a second host beside %q; a component process hosts once: remove one of them, and if %q was renamed, restart the component",
			key.typ, key.name, other, other)
	}
	now := &instance{config: c, properties: maps.Clone(properties)}
	if (before == nil || !before.config.Equal(c)) && callback != nil {
		ctx, cancel := context.WithTimeout(ctx, in.config.InitTimeout)
		defer cancel()
		if err := callback(ctx, c); err != nil {
			return &actors.Error{Code: actors.CodeOf(err), Message: key.typ + " " + key.name + ": " + err.Error(), Cause: err}
		}
	}
	in.mu.Lock()
	in.all[key] = now
	in.mu.Unlock()
	return nil
}

// keep brings the init file up to date. An Init does not fail because of the file: everything works until the component
// restarts, so the log is the place.
func (in *instances) keep() {
	in.mu.RLock()
	var kept []Kept
	allowed := true
	for key, i := range in.all {
		kept = append(kept, Kept{Type: key.typ, Name: key.name, properties: i.properties})
		allowed = allowed && i.config.InitFile
	}
	in.mu.RUnlock()
	slices.SortFunc(kept, func(a, b Kept) int { return strings.Compare(b.String(), a.String()) }) // state before bindings
	var err error
	if allowed {
		err = in.file.save(kept)
	} else {
		err = in.file.remove()
	}
	if err != nil {
		in.config.Logger.Warn("the last Init is not kept: after a restart of the component its sidecar has to restart too", "error", err)
	}
}

// Kept returns what sidecars gave in their last Inits before the component restarted, the host first. It holds for a
// sidecar that still lists these components; for others it is to be left alone.
func (s *Server) Kept() ([]Kept, error) { return s.instances.file.load() }

// Resume initialises a component as its sidecar did before the restart, unless it has done so again meanwhile.
func (s *Server) Resume(ctx context.Context, k Kept) error {
	return s.instances.init(ctx, instanceKey{k.Type, k.Name}, k.properties, false)
}
