package main

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/tests/harness"
)

const (
	// actorType is the simple name of the cart's service, shop.v1.ShoppingCart.
	actorType = "ShoppingCart"

	cartPackage = "samples/cart/cmd/cart"
)

// showCart goes shopping through Dapr's HTTP API.
func showCart(ctx context.Context, cluster *harness.Cluster, p *printer, stay bool) error {
	host, err := bringUp(ctx, cluster, p)
	if err != nil {
		return err
	}

	shop := shopping{ctx: ctx, print: p, dapr: host.Daprd.Client, cart: host.Handler.Process}
	if err := shop.tell(); err != nil {
		return err
	}

	if !stay {
		return nil
	}

	p.goOn(host)

	if err := supervise(ctx, p, host); err != nil {
		return err
	}

	p.line("\nStopping.")

	return nil
}

// bringUp starts everything, in the order in which it is needed.
func bringUp(ctx context.Context, cluster *harness.Cluster, p *printer) (*harness.Host, error) {
	p.title("Bringing up Dapr, the entities component and the shopping cart")

	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		return nil, err
	}

	p.started("placement", placement.Address, "Dapr's actor placement")

	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}

	host, err := cluster.StartHost(ctx, harness.HostOptions{
		Name:       "shop",
		AppID:      "shop",
		Placement:  placement.Address,
		ActorTypes: []string{actorType},
		Metadata:   map[string]string{"gatewayAddress": fmt.Sprintf("127.0.0.1:%d", ports[0])},
		Handler:    harness.HandlerOptions{Package: cartPackage, Name: "cart"},
		Component:  harness.ComponentOptions{Name: "entities"},
		Daprd:      harness.DaprdOptions{Name: "daprd"},
	})
	if err != nil {
		return nil, err
	}

	p.started("cart", host.Handler.Address, "your handlers: samples/cart")
	p.started("entities", host.Component.Options.Socket(), "the component, with its journal in SQLite")
	p.started("daprd", host.Daprd.Base, "the Dapr sidecar")
	p.started("gateway", host.Gateway, "the component's own door, for callers without Dapr")

	return host, nil
}
