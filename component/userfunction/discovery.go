package userfunction

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// discovery is Run's loop: ask, check, tell, watch, ask again.
type discovery struct {
	client *Client
	// control carries discovery and reports, and tells whether the user function is there.
	control *grpc.ClientConn
	stub    cloudstate.EntityDiscoveryClient
	// sessions carries the streams of entities.
	sessions *grpc.ClientConn

	// answered says that some user function has, since Run began.
	answered bool
	// spec is the last answer, whether it was good or not; nil after the connection was lost, for then another user
	// function may be behind it.
	spec *cloudstate.EntitySpec
	// valid says that it was good.
	valid bool
	// catalog is the last good answer.
	catalog *catalog.Catalog
}

func (d *discovery) run(ctx context.Context) {
	config := d.client.config
	wait := config.RetryMin
	for ctx.Err() == nil {
		if err := d.discover(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			config.Observe("unreachable")
			d.lost(err)
			d.pause(ctx, jitter(wait))
			wait = min(wait*8/5, config.RetryMax)
			continue
		}
		wait = config.RetryMin
		if d.watch(ctx) {
			d.lost(errors.New("the connection was lost"))
			d.control.Connect()
		}
	}
}

// discover asks once. An error means that nobody answered.
func (d *discovery) discover(ctx context.Context) error {
	config := d.client.config
	call, cancel := context.WithTimeout(ctx, config.DiscoverTimeout)
	defer cancel()
	spec, err := d.stub.Discover(call, &cloudstate.ProxyInfo{
		ProtocolMajorVersion: catalog.ProtocolMajor,
		ProtocolMinorVersion: catalog.ProtocolMinor,
		ProxyName:            config.Name,
		ProxyVersion:         config.Version,
		SupportedEntityTypes: entityTypes(config.Catalog.Supported),
		Extensions:           catalog.Extensions,
	})
	if err != nil {
		return errors.New(status.Convert(err).Message())
	}
	d.answered = true
	if err := d.settle(call); err != nil {
		return err
	}
	d.client.met.Store(true)
	if d.spec == nil || !proto.Equal(d.spec, spec) {
		d.spec = spec
		found, err := catalog.New(spec, config.Catalog)
		if err == nil && !d.catalog.Equal(found) {
			err = config.Check(found)
		}
		if d.valid = err == nil; d.valid {
			d.accept(found, spec.GetServiceInfo())
		} else {
			d.refuse(ctx, err)
		}
	}
	config.Observe(map[bool]string{true: "ok", false: "invalid"}[d.valid])
	return nil
}

// settle waits until sessions can be opened, so that ready means ready.
func (d *discovery) settle(ctx context.Context) error {
	for s := d.sessions.GetState(); s != connectivity.Ready; s = d.sessions.GetState() {
		if s == connectivity.TransientFailure {
			// It waits for its next try, which may be long; and there is somebody now.
			d.sessions.ResetConnectBackoff()
		}
		d.sessions.Connect()
		if !d.sessions.WaitForStateChange(ctx, s) {
			return errors.New("it answers, but takes no second connection")
		}
	}
	return nil
}

func (d *discovery) accept(found *catalog.Catalog, info *cloudstate.ServiceInfo) {
	changed := !d.catalog.Equal(found)
	if changed {
		d.catalog = found
		functions := make(map[string]engine.Function)
		now := &served{catalog: found, actions: make(map[string]*action), replicated: make(map[string]*replicated), reports: d.stub}
		for _, s := range found.Services() {
			switch s := newService(d.client, d.sessions, s); s.Kind {
			case actors.Action:
				now.actions[s.Name] = newAction(s)
			case actors.Replicated:
				now.replicated[s.Name] = &replicated{s, protocol.NewCrdtClient(s.conn)}
			default:
				if f := newFunction(s); f != nil {
					functions[s.Name] = f
				}
			}
		}
		d.client.served.Store(now)
		d.client.config.OnChange(found, func(service string) engine.Function { return functions[service] })
	}
	if d.client.enter(state{kind: ready}) {
		d.client.log.Info("the user function is ready", keyServices, names(found),
			"name", info.GetServiceName(), "version", info.GetServiceVersion(),
			"library", info.GetSupportLibraryName(), "library_version", info.GetSupportLibraryVersion())
	} else if changed {
		d.client.log.Info("the user function serves something else now", keyServices, names(found))
	}
}

// refuse tells everybody that the spec cannot be served. What was served before goes on being served.
func (d *discovery) refuse(ctx context.Context, problem error) {
	config := d.client.config
	err := fmt.Errorf("the user function at %s announces what cannot be served; correct it and start it again:\n%w", config.Address, problem)
	if d.client.enter(state{kind: refused, err: err}) {
		d.client.log.Error("the user function announces what cannot be served", keyError, problem)
	}
	d.client.report(ctx, d.stub, problem.Error())
}

// lost notes that the user function does not answer, and why.
func (d *discovery) lost(cause error) {
	d.client.met.Store(false)
	address := d.client.config.Address
	s := state{kind: silent}
	if d.answered {
		s.err = fmt.Errorf("the user function at %s does not answer: %w; start it again", address, cause)
	} else {
		s.err = fmt.Errorf(`%w at %s: %w; start it there, or say where it listens with the setting userFunction; an application without handlers needs none (host: "false")`,
			ErrAbsent, address, cause)
	}
	d.spec = nil
	switch news := d.client.enter(s); {
	case !news:
	case d.answered:
		d.client.log.Warn("the user function does not answer; trying on", keyError, cause)
	default: // it may come later, or not at all
		d.client.log.Info("no user function has answered yet; trying on", keyError, cause)
	}
}

// watch returns when it is time to ask again: true if the connection was lost, else by the clock.
func (d *discovery) watch(ctx context.Context) bool {
	if every := d.client.config.Rediscover; every > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, every)
		defer cancel()
	}
	d.control.WaitForStateChange(ctx, connectivity.Ready)
	return d.control.GetState() != connectivity.Ready && ctx.Err() == nil
}

// pause waits, but no longer than until there is a new connection.
func (d *discovery) pause(ctx context.Context, long time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	for s := d.control.GetState(); ; {
		if s == connectivity.Idle {
			d.control.Connect()
		}
		if !d.control.WaitForStateChange(ctx, s) {
			return
		}
		if s = d.control.GetState(); s == connectivity.Ready {
			return
		}
	}
}

// jitter is d, give or take a fifth: sidecars that were started together should not ask together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// reportTimeout bounds one report. A user function that takes none has to be read about in our log.
const reportTimeout = 5 * time.Second

// Report tells the user function about a mistake of its own, soon. It does not wait.
func (c *Client) Report(text string) {
	if now := c.served.Load(); now != nil {
		c.reporting.try(func() { c.report(context.Background(), now.reports, text) })
	}
}

// report tells the user function about a mistake of its own.
func (c *Client) report(ctx context.Context, stub cloudstate.EntityDiscoveryClient, text string) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if _, err := stub.ReportError(ctx, &cloudstate.UserFunctionError{Message: text}); err != nil {
		c.log.Warn("the user function did not take a report", keyDetail, text, keyError, err)
	}
}

func entityTypes(kinds []actors.Kind) []string {
	list := make([]string, len(kinds))
	for i, k := range kinds {
		list[i] = catalog.EntityType(k)
	}
	return list
}

func names(c *catalog.Catalog) []string {
	var list []string
	for _, s := range c.Services() {
		list = append(list, s.Name)
	}
	return list
}
