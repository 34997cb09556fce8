package building

import (
	"slices"

	"github.com/dapr-entities/entities/component/config"
)

// Settings that a kept Init comes to, on top of the base.
func (s *Server) Settings(k Kept) (config.Config, error) {
	scope := config.State
	if k.Type == bindingType {
		scope = config.Binding
	}
	return config.Resolve(scope, append(slices.Clone(s.config.Base), k.properties)...)
}

// Initialised reports whether the component that was kept has been initialised since.
func (s *Server) Initialised(k Kept) bool {
	s.instances.mu.RLock()
	defer s.instances.mu.RUnlock()
	return s.instances.all[instanceKey{k.Type, k.Name}] != nil
}
