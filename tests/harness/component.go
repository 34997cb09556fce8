package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
)

// ComponentPackage is the command that serves entities.
const ComponentPackage = "component/cmd/entities"

// ComponentOptions says how the entities component is started. What its YAML can say, the YAML says.
type ComponentOptions struct {
	// Binary defaults to component/cmd/entities of this repository, built when it is first needed.
	Binary string
	// Sockets is the folder for its socket. Defaults to a new one; tell daprd the same.
	Sockets string
	// DaprGRPCPort is where its sidecar will listen.
	DaprGRPCPort int
	// AdminPort defaults to a free one.
	AdminPort int
	// Args and Env are added at the end.
	Args, Env []string
	// Name in logs. Defaults to entities.
	Name string
}

// Component is a running entities component.
type Component struct {
	*Process

	Options ComponentOptions
	// Admin is the base URL of health checks and metrics.
	Admin string
}

// Socket is the path of the component's socket.
func (o ComponentOptions) Socket() string { return filepath.Join(o.Sockets, "entities.sock") }

// StartComponent starts the component and waits for its socket, so that daprd can be started next. It serves entities
// only after daprd's Init.
func (c *Cluster) StartComponent(ctx context.Context, options ComponentOptions) (*Component, error) {
	var err error

	if options.Name == "" {
		options.Name = "entities"
	}

	if options.Binary == "" {
		if options.Binary, err = Build(ctx, ComponentPackage); err != nil {
			return nil, err
		}
	}

	if options.Sockets == "" {
		// Named after a port, which no two components have in common: names may be long, and paths of sockets may not.
		if options.Sockets, err = c.SubFolder("s" + strconv.Itoa(options.DaprGRPCPort)); err != nil {
			return nil, err
		}
	}

	if options.AdminPort == 0 {
		ports, err := FreePorts(1)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", options.Name, err)
		}

		options.AdminPort = ports[0]
	}

	admin := loopback(options.AdminPort)

	process, err := c.Start(ctx, Command{
		Name: options.Name,
		Path: options.Binary,
		Args: append([]string{"serve", "--socketFolder", options.Sockets, "--adminAddress", admin}, options.Args...),
		Env:  append([]string{"DAPR_GRPC_PORT=" + strconv.Itoa(options.DaprGRPCPort)}, options.Env...),
		// Not TCPReady(admin): what counts is that daprd finds the socket.
		Ready: SocketReady(options.Socket()),
		// The component's own grace period is 20 s.
		Grace: gracePeriod,
	})

	return &Component{Process: process, Options: options, Admin: "http://" + admin}, err
}
