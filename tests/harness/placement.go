package harness

import (
	"context"
	"fmt"
	"strconv"
)

// Placement is Dapr's actor placement service.
type Placement struct {
	*Process

	// Address is what daprd is told.
	Address string
}

// StartPlacement starts a placement service on free ports, its raft port included, with its tables in memory.
func (c *Cluster) StartPlacement(ctx context.Context) (*Placement, error) {
	binary, err := c.tool(ctx, ToolPlacement)
	if err != nil {
		return nil, err
	}

	ports, err := FreePorts(4)
	if err != nil {
		return nil, fmt.Errorf("start placement: %w", err)
	}

	port, health, metrics, raft := ports[0], ports[1], ports[2], ports[3]

	process, err := c.Start(ctx, Command{
		Name: "placement",
		Path: binary,
		Args: []string{
			"--listen-address", "127.0.0.1", "--port", strconv.Itoa(port),
			"--healthz-listen-address", "127.0.0.1", "--healthz-port", strconv.Itoa(health),
			"--metrics-listen-address", "127.0.0.1", "--metrics-port", strconv.Itoa(metrics),
			"--initial-cluster", "dapr-placement-0=" + loopback(raft),
			"--metadata-enabled",
		},
		Ready: AllReady(HTTPReady("http://"+loopback(health)+"/healthz"), TCPReady(loopback(port))),
	})

	return &Placement{Process: process, Address: loopback(port)}, err
}
