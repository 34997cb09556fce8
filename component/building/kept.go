package building

import (
	"slices"

	"github.com/dapr-entities/entities/component/config"
)

// Settings that a kept Init comes to, on top of the base.
func (s *Server) Settings(k Kept) (config.Config, error) {
	return config.Resolve(scopes[k.Type], append(slices.Clone(s.config.Base), k.properties)...)
}

// Initialised reports whether the component that was kept has been initialised since.
func (s *Server) Initialised(k Kept) bool {
	s.instances.mu.RLock()
	defer s.instances.mu.RUnlock()
	return s.instances.all[instanceKey{k.Type, k.Name}] != nil
}

// Abandoned returns the topics to which the sidecar of the component that was kept had subscribed, and has not again
// since: it does not by itself, and takes them for subscribed all the same.
func (s *Server) Abandoned(k Kept) []string {
	s.instances.mu.RLock()
	defer s.instances.mu.RUnlock()
	i := s.instances.all[instanceKey{k.Type, k.Name}]
	return slices.DeleteFunc(slices.Clone(k.Topics), func(topic string) bool { return i != nil && i.pulls[topic] > 0 })
}
