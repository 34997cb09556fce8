package harness

import (
	"context"
	"fmt"
	"strconv"
)

// Scheduler is Dapr's scheduler service: it keeps reminders and jobs.
type Scheduler struct {
	*Process

	// Address is what daprd is told.
	Address string
}

// StartScheduler starts a scheduler on free ports, with its data in the cluster's folder.
func (c *Cluster) StartScheduler(ctx context.Context) (*Scheduler, error) {
	binary, err := c.tool(ctx, ToolScheduler)
	if err != nil {
		return nil, err
	}

	ports, err := FreePorts(5)
	if err != nil {
		return nil, fmt.Errorf("start scheduler: %w", err)
	}

	port, health, metrics, client, peer := ports[0], ports[1], ports[2], ports[3], ports[4]

	data, err := c.SubFolder("scheduler", strconv.Itoa(port))
	if err != nil {
		return nil, err
	}

	process, err := c.Start(ctx, Command{
		Name: "scheduler",
		Path: binary,
		Args: []string{
			"--listen-address", "127.0.0.1", "--port", strconv.Itoa(port),
			"--healthz-listen-address", "127.0.0.1", "--healthz-port", strconv.Itoa(health),
			"--metrics-listen-address", "127.0.0.1", "--metrics-port", strconv.Itoa(metrics),
			"--etcd-data-dir", data, "--etcd-client-listen-address", "127.0.0.1",
			"--etcd-client-port", strconv.Itoa(client),
			"--etcd-initial-cluster", "dapr-scheduler-server-0=http://" + loopback(peer),
			"--override-broadcast-host-port", loopback(port),
		},
		Ready: AllReady(HTTPReady("http://"+loopback(health)+"/healthz"), TCPReady(loopback(port))),
	})

	return &Scheduler{Process: process, Address: loopback(port)}, err
}
