package harness

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sigs.k8s.io/yaml"
)

// The names that WriteResources gives to the components.
const (
	StateName   = "entities"
	BindingName = "entities-binding"
	PubsubName  = "entities-pubsub"
	InputName   = "entities-input"
)

// HostOptions says how a host of entities is put together: a handler, a component and a daprd, wired to each other. The
// parts that are named here are filled in where they leave something open.
type HostOptions struct {
	// Name tells hosts apart in logs and folders. Defaults to the app id.
	Name string
	// AppID defaults to entities. Hosts of one app id share their entities.
	AppID string
	// Placement is required.
	Placement string
	// Journal defaults to a SQLite file in the host's folder.
	Journal string
	// Metadata is added to the state component's YAML, and wins.
	Metadata map[string]string
	// Pubsub is the metadata of a pub/sub component. Without them there is none.
	Pubsub map[string]string
	// Input is the metadata of an input binding. Without them there is none.
	Input map[string]string
	// ActorTypes are waited for before the host counts as started.
	ActorTypes []string

	// Handler is started unless it names neither package nor binary.
	Handler   HandlerOptions
	Component ComponentOptions
	Daprd     DaprdOptions
}

// Host is a running handler (nil if there is none), component and daprd.
type Host struct {
	Handler   *Handler
	Component *Component
	Daprd     *Daprd

	// Folder holds the journal, if it is a file, and the resources.
	Folder string
	// Gateway is the base URL of the gateway, if the metadata ask for one.
	Gateway string
}

// StartHost starts the three processes in the order in which they need each other, and waits for the actor types.
func (c *Cluster) StartHost(ctx context.Context, options HostOptions) (*Host, error) {
	if options.AppID == "" {
		options.AppID = "entities"
	}

	if options.Name == "" {
		options.Name = options.AppID
	}

	folder, err := c.SubFolder(options.Name)
	if err != nil {
		return nil, err
	}

	host := &Host{Folder: folder}
	metadata := map[string]string{"journal": options.Journal}

	if options.Journal == "" {
		metadata["journal"] = "sqlite:" + filepath.Join(folder, "entities.db")
	}

	if options.Handler.Package != "" || options.Handler.Binary != "" {
		fill(&options.Handler.Name, "handler-"+options.Name)

		if host.Handler, err = c.StartHandler(ctx, options.Handler); err != nil {
			return nil, err
		}

		metadata["userFunction"] = host.Handler.Address
	}

	maps.Copy(metadata, options.Metadata)

	if address := metadata["gatewayAddress"]; address != "" {
		host.Gateway = "http://" + address
	}

	if options.Daprd.Ports == (DaprdPorts{}) {
		if options.Daprd.Ports, err = FreeDaprdPorts(); err != nil {
			return nil, fmt.Errorf("start host %s: %w", options.Name, err)
		}
	}

	options.Component.DaprGRPCPort = options.Daprd.Ports.GRPC
	fill(&options.Component.Name, "component-"+options.Name)

	if host.Component, err = c.StartComponent(ctx, options.Component); err != nil {
		return nil, err
	}

	resources, err := c.SubFolder(options.Name, "resources")
	if err != nil {
		return nil, err
	}

	if err := WriteResources(resources, metadata); err != nil {
		return nil, err
	}

	if options.Pubsub != nil {
		if err := writeComponent(resources, "pubsub.yaml", newComponentYAML(PubsubName, "pubsub.entities", options.Pubsub)); err != nil {
			return nil, err
		}
	}

	if options.Input != nil {
		full := map[string]string{"direction": "input", "appId": "{appID}"}
		maps.Copy(full, options.Input)

		if err := writeComponent(resources, "input.yaml", newComponentYAML(InputName, "bindings.entities", full)); err != nil {
			return nil, err
		}
	}

	options.Daprd.Resources = append(options.Daprd.Resources, resources)
	fill(&options.Daprd.AppID, options.AppID)
	fill(&options.Daprd.Name, "daprd-"+options.Name)
	fill(&options.Daprd.Sockets, host.Component.Options.Sockets)
	fill(&options.Daprd.Placement, options.Placement)

	if host.Daprd, err = c.StartDaprd(ctx, options.Daprd); err != nil {
		return nil, err
	}

	return host, host.AwaitActors(ctx, options.ActorTypes...)
}

// AwaitActors waits, at most 30 s, until the host's daprd hosts the actor types.
func (h *Host) AwaitActors(ctx context.Context, actorTypes ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()

	for _, actorType := range actorTypes {
		if err := Poll(ctx, 100*time.Millisecond, h.Daprd.ActorReady(actorType)); err != nil {
			return fmt.Errorf("wait for actor type %s: %w%s", actorType, err, h.Component.excerpt())
		}
	}

	return nil
}

// WriteResources writes the YAML of a state component that is the actor state store and hosts entities, and of a
// binding. Metadata belongs to the state component; "actorStateStore" and "appId" need not be given.
func WriteResources(folder string, metadata map[string]string) error {
	full := map[string]string{"actorStateStore": "true", "appId": "{appID}"}
	maps.Copy(full, metadata)

	for file, resource := range map[string]componentYAML{
		"entities.yaml": newComponentYAML(StateName, "state.entities", full),
		"binding.yaml":  newComponentYAML(BindingName, "bindings.entities", nil),
	} {
		if err := writeComponent(folder, file, resource); err != nil {
			return err
		}
	}

	return nil
}

func writeComponent(folder, file string, resource componentYAML) error {
	data, err := yaml.Marshal(resource)
	if err != nil {
		return fmt.Errorf("write resources: %w", err)
	}

	if err := os.WriteFile(filepath.Join(folder, file), data, 0o600); err != nil {
		return fmt.Errorf("write resources: %w", err)
	}

	return nil
}

// componentYAML is the part of Dapr's Component resource that we use.
type componentYAML struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       struct {
		Type     string     `json:"type"`
		Version  string     `json:"version"`
		Metadata []nameYAML `json:"metadata"`
	} `json:"spec"`
}

type nameYAML struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newComponentYAML(name, componentType string, metadata map[string]string) componentYAML {
	resource := componentYAML{
		APIVersion: "dapr.io/v1alpha1",
		Kind:       "Component",
		Metadata:   map[string]string{"name": name},
	}
	resource.Spec.Type = componentType
	resource.Spec.Version = "v1"
	resource.Spec.Metadata = []nameYAML{}

	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		resource.Spec.Metadata = append(resource.Spec.Metadata, nameYAML{Name: key, Value: metadata[key]})
	}

	return resource
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}
