package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dapr-entities/entities/samples/presence"
	"github.com/dapr-entities/entities/tests/harness"
)

const (
	presencePackage = "samples/presence/cmd/presence"

	// roomType is the simple name of the service of rooms, chat.v1.Presence.
	roomType = "Presence"
	roomPath = "/entities/chat.v1.Presence/tea/"

	// slotTimeout decides how long a node that is cut off goes on writing: at least a sixth of it, for it renews its slot
	// every third, and at most half.
	slotTimeout = 20 * time.Second
)

// node is one of those that have the room in common: a handler, a component and a sidecar, and its way to the database.
type node struct {
	name    string
	host    *harness.Host
	link    *harness.Link
	gateway *harness.Client
	cut     bool
}

// nodes are closed together with the cluster, before the database is out of reach for good.
type nodes struct {
	cluster *harness.Cluster
	all     []*node
}

// startNodes starts a database and n nodes that share it.
func startNodes(ctx context.Context, cluster *harness.Cluster, p *printer, n int) (_ *nodes, err error) {
	s := &nodes{cluster: cluster}

	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()

	database, err := cluster.StartPostgres(ctx, harness.PostgresOptions{})
	if err != nil {
		return nil, err
	}

	p.started("postgres", database.Address, "the journal of all nodes, by which they tell each other of their writes, too")

	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		return nil, err
	}

	p.started("placement", placement.Address, "Dapr's actor placement")

	for i := range n {
		one, err := s.start(ctx, fmt.Sprintf("node %d", i+1), database.Address, placement.Address)
		if err != nil {
			return nil, err
		}

		p.started(one.name, one.host.Gateway, "daprd, the entities component with its gateway here, and samples/presence")
	}

	return s, nil
}

func (s *nodes) start(ctx context.Context, name, database, placement string) (*node, error) {
	link, err := harness.NewLink(database)
	if err != nil {
		return nil, err
	}

	one := &node{name: name, link: link}
	s.all = append(s.all, one)

	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}

	gateway := fmt.Sprintf("127.0.0.1:%d", ports[0])
	short := fmt.Sprintf("node%d", len(s.all))

	one.host, err = s.cluster.StartHost(ctx, harness.HostOptions{
		Name:       short,
		AppID:      "chat",
		Placement:  placement,
		Journal:    harness.PostgresURL(link.Address, "postgres"),
		ActorTypes: []string{roomType},
		Metadata:   map[string]string{"gatewayAddress": gateway, "slotTimeout": slotTimeout.String()},
		Handler:    harness.HandlerOptions{Package: presencePackage, Name: "presence-" + short},
		Component:  harness.ComponentOptions{Name: "entities-" + short},
		Daprd:      harness.DaprdOptions{Name: "daprd-" + short},
	})
	if err != nil {
		return nil, err
	}

	one.gateway = harness.NewClient(one.host.Gateway)

	if err := one.await(ctx, 30*time.Second, one.ready); err != nil {
		return nil, fmt.Errorf("%s is not ready: %w", name, err)
	}

	return one, nil
}

// close ends the processes while they still reach the database, and then the links.
func (s *nodes) close() error {
	for _, n := range s.all {
		n.heal()
	}

	errs := []error{s.cluster.Close()}

	for _, n := range s.all {
		errs = append(errs, n.link.Close())

		if n.gateway != nil {
			n.gateway.Close()
		}
	}

	return errors.Join(errs...)
}

// cutOff and heal begin and end a partition.
func (n *node) cutOff() {
	n.cut = true
	n.link.Cut()
}

func (n *node) heal() {
	n.cut = false
	n.link.Heal()
}

func (n *node) await(ctx context.Context, atMost time.Duration, probe harness.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()

	return harness.Poll(ctx, 50*time.Millisecond, probe)
}

// ready asks the component whether it can do all that it is for.
func (n *node) ready(ctx context.Context) error {
	return harness.HTTPReady(n.host.Component.Admin + "/readyz")(ctx)
}

// command gives a command to the room by the node's gateway.
func (n *node) command(ctx context.Context, name string, body []byte) (harness.Response, error) {
	return n.gateway.Do(ctx, http.MethodPost, roomPath+name, map[string]string{"Content-Type": "application/json"}, body)
}

// look asks how the room looks to somebody at this node.
func (n *node) look(ctx context.Context, name string) (presence.View, error) {
	response, err := n.command(ctx, "Look", encode(presence.Person{Name: name}))
	if err != nil {
		return presence.View{}, err
	}

	return viewIn(response)
}
