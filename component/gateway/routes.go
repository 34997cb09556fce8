package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// method is one that can be called.
type method struct {
	*catalog.Method
	service *catalog.Service
	types   *dynamicpb.Types
	// path is that of gRPC: /service/method.
	path string
}

// addressed reports whether its commands go to an entity, and not just to the service.
func (m *method) addressed() bool { return m.service.Kind != actors.Action }

func (m *method) streamed() bool { return m.StreamedIn || m.StreamedOut }

// routes are what a catalog is served by. They are immutable; a call keeps those that it began with.
type routes struct {
	catalog *catalog.Catalog
	// methods by their path.
	methods map[string]*method
	// bindings in the order in which they are tried.
	bindings []*binding
	openAPI  func() []byte
}

// Services of our own, which no user function can have.
const (
	healthService       = "grpc.health.v1.Health"
	reflectionService   = "grpc.reflection.v1.ServerReflection"
	reflectionV1Alpha   = "grpc.reflection.v1alpha.ServerReflection"
	entitiesPath        = "/entities/"
	openAPIPath         = "/openapi.json"
	outcomesPathElement = "outcomes"
)

// compile makes the routes. The error joins all problems.
func compile(c *catalog.Catalog) (*routes, error) {
	r := &routes{catalog: c, methods: make(map[string]*method)}
	var problems []error
	for _, s := range c.Services() {
		if slices.Contains([]string{healthService, reflectionService, reflectionV1Alpha}, s.Name) {
			problems = append(problems, fmt.Errorf("the gateway answers for the service %s itself; rename yours", s.Name))
			continue
		}
		methods, err := methodsOf(c, s)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, m := range methods {
			r.methods[m.path] = m
			if m.Descriptor == nil {
				continue
			}
			list, err := bindings(m)
			if err != nil {
				problems = append(problems, about(m, err)...)
				continue
			}
			r.bindings = append(r.bindings, list...)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	// The last one declared wins, as in Cloudstate. A verb is part of what a template without one captures, so templates
	// that name it come first.
	slices.Reverse(r.bindings)
	slices.SortStableFunc(r.bindings, func(a, b *binding) int { return order(a.template.verb) - order(b.template.verb) })
	r.openAPI = sync.OnceValue(func() []byte { return openAPI(r) })
	return r, nil
}

func order(verb string) int {
	if verb != "" {
		return 0
	}
	return 1
}

// about gives each of several joined problems the method that it is one of.
func about(m *method, err error) (list []error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, about(m, e)...)
		}
		return list
	}
	return []error{fmt.Errorf("the method %s cannot be served over HTTP: %w", m.Method, err)}
}

// methodsOf returns those of a service in the order of their declaration.
func methodsOf(c *catalog.Catalog, s *catalog.Service) ([]*method, error) {
	var list []*method
	for _, name := range s.Methods() {
		m, err := s.Method(name)
		if err != nil {
			return nil, err
		}
		list = append(list, &method{Method: m, service: s, types: c.Types(), path: "/" + s.Name + "/" + name})
	}
	slices.SortStableFunc(list, func(a, b *method) int {
		if a.Descriptor == nil || b.Descriptor == nil {
			return 0
		}
		return a.Descriptor.Index() - b.Descriptor.Index()
	})
	return list, nil
}

// native finds the method of a gRPC path: JSON services have none.
func (r *routes) native(path string) (*method, error) {
	if r == nil {
		return nil, errNoRoutes
	}
	if m, ok := r.methods[path]; ok && m.Descriptor != nil {
		return m, nil
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	s, ok := r.catalog.Service(service)
	switch {
	case !ok || s.Name != service:
		return nil, actors.Errorf(actors.Unimplemented, "there is no service %q", cut(service))
	case r.methods[path] != nil:
		return nil, actors.Errorf(actors.Unimplemented, "the service %s speaks JSON: call it at POST %s%s", s.Name, entitiesPath, s.Name)
	}
	_, err := s.Method(name)
	return nil, err
}

var errNoRoutes = &actors.Error{Code: actors.Unavailable, Message: "no user function has been discovered yet; try again later"}

// find returns the binding for a request. Without one it returns the verbs under which the path is known.
func (r *routes) find(verb string, p requestPath) (*binding, []string) {
	var allowed []string
	for _, b := range r.bindings {
		if !b.template.match(p) {
			continue
		}
		if b.verb == verb || b.verb == "*" {
			return b, nil
		}
		if !slices.Contains(allowed, b.verb) {
			allowed = append(allowed, b.verb)
		}
	}
	slices.Sort(allowed)
	return nil, allowed
}
