package harness

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
)

// Redis is a Redis server.
type Redis struct {
	*Process

	// Address is host:port.
	Address string
}

// Component is the YAML of a Dapr component of a type that keeps what it has in this Redis. Metadata are more of its
// settings, as the lines of YAML that a flow sequence has.
func (r *Redis) Component(name, kind, metadata string) []byte {
	return fmt.Appendf(nil, "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\nspec:\n  type: %s\n  version: v1\n  metadata:\n  - {name: redisHost, value: %q}\n%s", name, kind, r.Address, metadata)
}

// StartRedis starts the machine's redis-server on a free port, with its append-only file in the cluster's folder, so that
// it has what it acknowledged when it is started again. Arguments are added at the end, where they win.
func (c *Cluster) StartRedis(ctx context.Context, arguments ...string) (*Redis, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("start redis: there is no redis-server; install it, for example with apt-get install redis-server")
	}
	ports, err := FreePorts(1)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	address := loopback(ports[0])
	folder, err := c.SubFolder("redis" + strconv.Itoa(ports[0]))
	if err != nil {
		return nil, err
	}
	process, err := c.Start(ctx, Command{
		Name: "redis",
		Path: binary,
		Args: append([]string{
			"--bind", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--dir", folder,
			"--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
		}, arguments...),
		Ready: TCPReady(address),
	})
	return &Redis{Process: process, Address: address}, err
}
