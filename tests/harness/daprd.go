package harness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// DaprdPorts are the ports of one sidecar.
type DaprdPorts struct {
	HTTP, GRPC, Internal, Metrics, Profile, Public int
}

// FreeDaprdPorts returns free ports, for when others must know them before daprd starts.
func FreeDaprdPorts() (DaprdPorts, error) {
	p, err := FreePorts(6)
	if err != nil {
		return DaprdPorts{}, err
	}

	return DaprdPorts{HTTP: p[0], GRPC: p[1], Internal: p[2], Metrics: p[3], Profile: p[4], Public: p[5]}, nil
}

// DaprdOptions says how a sidecar is started.
type DaprdOptions struct {
	// AppID is required.
	AppID string
	// Ports default to free ones.
	Ports DaprdPorts
	// Resources are folders of component files. Without one, daprd loads none.
	Resources []string
	// Config is the path of a Dapr Configuration file, if any.
	Config string
	// Sockets is the folder in which daprd looks for pluggable components. Defaults to an empty one of its own, so that
	// it does not look into the folder that all daprds of a machine share by default.
	Sockets string
	// Placement and Scheduler are addresses; without Placement there are no actors.
	Placement, Scheduler string
	// AppPort is where the app listens, 0 if it does not. AppProtocol defaults to daprd's default, http.
	AppPort     int
	AppProtocol string
	// MaxBodySize is a quantity such as 16Mi. Defaults to daprd's default, 4Mi.
	MaxBodySize string
	// LogLevel defaults to info.
	LogLevel string
	// Args and Env are added at the end.
	Args, Env []string
	// Ready defaults to the outbound health check: components are loaded and the APIs are up. The app need not be.
	Ready Probe
	// Name in logs. Defaults to "daprd-" and AppID.
	Name string
}

// Daprd is a sidecar and a client of its API.
type Daprd struct {
	*Process
	*Client

	Options DaprdOptions
}

// StartDaprd starts a sidecar on loopback.
func (c *Cluster) StartDaprd(ctx context.Context, options DaprdOptions) (*Daprd, error) {
	binary, err := c.tool(ctx, ToolDaprd)
	if err != nil {
		return nil, err
	}

	if options.AppID == "" {
		return nil, errors.New("start daprd: no app id given")
	}

	if options.Ports == (DaprdPorts{}) {
		if options.Ports, err = FreeDaprdPorts(); err != nil {
			return nil, fmt.Errorf("start daprd: %w", err)
		}
	}

	if options.Name == "" {
		options.Name = "daprd-" + options.AppID
	}

	if options.Sockets == "" {
		if options.Sockets, err = c.SubFolder("no-sockets"); err != nil {
			return nil, err
		}
	}

	client := NewClient("http://" + loopback(options.Ports.HTTP))

	ready := options.Ready
	if ready == nil {
		ready = AllReady(HTTPReady(client.Base+"/v1.0/healthz/outbound"), TCPReady(loopback(options.Ports.GRPC)))
	}

	process, err := c.Start(ctx, Command{
		Name: options.Name,
		Path: binary,
		Args: options.arguments(),
		Env: append([]string{
			"DAPR_COMPONENTS_SOCKETS_FOLDER=" + options.Sockets,
			// Otherwise daprd finds out the machine's address by asking for the way to a public one, and other hosts
			// would not reach it there, for it listens on loopback.
			"DAPR_HOST_IP=127.0.0.1",
		}, options.Env...),
		Ready:  ready,
		Within: time.Minute,
	})

	return &Daprd{Process: process, Client: client, Options: options}, err
}

func (o DaprdOptions) arguments() []string {
	arguments := []string{
		"--app-id", o.AppID,
		"--mode", "standalone",
		"--dapr-listen-addresses", "127.0.0.1",
		"--dapr-http-port", strconv.Itoa(o.Ports.HTTP),
		"--dapr-grpc-port", strconv.Itoa(o.Ports.GRPC),
		"--dapr-internal-grpc-listen-address", "127.0.0.1",
		"--dapr-internal-grpc-port", strconv.Itoa(o.Ports.Internal),
		"--dapr-public-listen-address", "127.0.0.1",
		"--dapr-public-port", strconv.Itoa(o.Ports.Public),
		"--metrics-listen-address", "127.0.0.1",
		"--metrics-port", strconv.Itoa(o.Ports.Metrics),
		"--profile-port", strconv.Itoa(o.Ports.Profile),
	}

	optional := func(flag, value string) {
		if value != "" {
			arguments = append(arguments, flag, value)
		}
	}

	optional("--config", o.Config)
	optional("--placement-host-address", o.Placement)
	optional("--scheduler-host-address", o.Scheduler)
	optional("--app-protocol", o.AppProtocol)
	optional("--max-body-size", o.MaxBodySize)
	optional("--log-level", o.LogLevel)

	if o.AppPort != 0 {
		optional("--app-port", strconv.Itoa(o.AppPort))
	}

	for _, folder := range o.Resources {
		optional("--resources-path", folder)
	}

	return append(arguments, o.Args...)
}

// ActorReady is ready when this sidecar hosts the actor type and placement knows.
func (d *Daprd) ActorReady(actorType string) Probe {
	return func(ctx context.Context) error {
		metadata, err := d.Metadata(ctx)
		if err != nil {
			return err
		}

		for _, active := range metadata.ActorRuntime.ActiveActors {
			if active.Type == actorType && metadata.ActorRuntime.HostReady {
				return nil
			}
		}

		return fmt.Errorf("daprd of %s does not host actor type %s yet: %+v", d.Options.AppID, actorType, metadata.ActorRuntime)
	}
}

// GRPCAddress is where Dapr's gRPC API listens.
func (d *Daprd) GRPCAddress() string { return loopback(d.Options.Ports.GRPC) }

// tool returns the path of a Dapr program, building it if need be.
func (c *Cluster) tool(ctx context.Context, tool Tool) (string, error) {
	c.tools.Lock()
	defer c.tools.Unlock()

	if c.config.Dapr.path(tool) == "" {
		found, err := Dapr(ctx, c.config.Progress, tool)
		if err != nil {
			return "", err
		}

		c.config.Dapr.fill(&found)
	}

	return c.config.Dapr.path(tool), nil
}

// CLI returns the path of the dapr command, building it if need be.
func (c *Cluster) CLI(ctx context.Context) (string, error) { return c.tool(ctx, ToolCLI) }
