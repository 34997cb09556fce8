package harness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// gracePeriod lets a process use up its own before it is killed.
const gracePeriod = 25 * time.Second

// HandlerOptions says how a user function is started: the process with the handlers.
type HandlerOptions struct {
	// Package is a command of this repository, such as samples/cart/cmd/cart. Or give Binary.
	Package, Binary string
	// Port defaults to a free one. The process learns it from the environment variable PORT, as Cloudstate has it.
	Port int
	// Args and Env are added at the end.
	Args, Env []string
	// Name in logs. Defaults to handler.
	Name string
}

// Handler is a running user function.
type Handler struct {
	*Process

	// Address is what the component is told.
	Address string
}

// StartHandler starts a user function and waits until it listens.
func (c *Cluster) StartHandler(ctx context.Context, options HandlerOptions) (*Handler, error) {
	if options.Name == "" {
		options.Name = "handler"
	}

	if options.Binary == "" {
		if options.Package == "" {
			return nil, errors.New("start handler: neither a package nor a binary is given")
		}

		binary, err := Build(ctx, options.Package)
		if err != nil {
			return nil, err
		}

		options.Binary = binary
	}

	if options.Port == 0 {
		ports, err := FreePorts(1)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", options.Name, err)
		}

		options.Port = ports[0]
	}

	address := loopback(options.Port)

	process, err := c.Start(ctx, Command{
		Name:  options.Name,
		Path:  options.Binary,
		Args:  options.Args,
		Env:   append([]string{"HOST=127.0.0.1", "PORT=" + strconv.Itoa(options.Port)}, options.Env...),
		Ready: TCPReady(address),
		Grace: gracePeriod,
	})

	return &Handler{Process: process, Address: address}, err
}
