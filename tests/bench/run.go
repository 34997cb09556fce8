package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"github.com/dapr-entities/entities/tests/harness"
)

// run measures, writes the tables to out and what it is doing to progress. It returns how many gates were missed.
func run(ctx context.Context, o options, out, progress io.Writer) (missed int, err error) {
	syncs, err := disk(o.data)
	if err != nil {
		return 0, err
	}

	cluster, err := harness.NewCluster(harness.ClusterConfig{Progress: progress, Folder: o.logs})
	if err != nil {
		return 0, err //nolint:wrapcheck // it says what it did
	}

	s := &stage{cluster: cluster}

	defer func() { err = errors.Join(err, s.close()) }()

	rows, err := s.set(ctx, o, progress)
	if err != nil {
		return 0, err
	}

	r := report{options: o, rows: rows, syncs: syncs}
	if r.done, err = s.rounds(ctx, o, rows, progress); err != nil {
		return 0, err
	}

	broken := s.check(ctx, o, rows, r.done)

	if o.profile != "" {
		if err := s.profile(ctx, o, rows, progress); err != nil {
			return 0, err
		}
	}

	if r.converged, err = s.converge(ctx, o, progress); err != nil {
		return 0, err
	}

	if r.fed, err = s.feed(ctx, o, progress); err != nil {
		return 0, err
	}

	if r.postgres, r.daprd, err = s.versions(ctx); err != nil {
		return 0, err
	}

	return r.write(out), broken
}

// versions tells Postgres's and daprd's; the latter is empty if no row needs it.
func (s *stage) versions(ctx context.Context) (postgres, daprd string, err error) {
	if postgres, err = s.postgres.version(ctx); err != nil {
		return "", "", err
	}

	for _, system := range s.systems {
		if system.processes[sidecar] == nil {
			continue
		}

		metadata, err := system.dapr.GetMetadata(ctx, new(runtimev1.GetMetadataRequest))
		if err != nil {
			return "", "", fmt.Errorf("ask daprd for its version: %w", err)
		}

		return postgres, metadata.GetExtendedMetadata()["daprRuntimeVersion"], nil
	}

	return postgres, "not started", nil
}

// set starts what the wanted rows need and returns the rows.
func (s *stage) set(ctx context.Context, o options, progress io.Writer) ([]row, error) {
	began := time.Now()

	var err error
	if s.postgres, err = startPostgres(ctx, s.cluster, o.data); err != nil {
		return nil, err
	}

	if s.placement, err = s.cluster.StartPlacement(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	rows, err := s.rows(ctx, o)
	if err != nil {
		return nil, err
	}

	for _, r := range rows {
		if r.send == nil {
			continue
		}

		first := r.send
		if r.first != nil {
			first = r.first(r.system)
		}

		if err := prime(ctx, o.callers, first, r.ids); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", r.name, err)
		}
	}

	fmt.Fprintf(progress, "%d rows ready after %s\n", len(rows), time.Since(began).Round(100*time.Millisecond))

	return rows, nil
}

// rows returns the rows that are wanted, in the order of the table, having started the systems that they need.
func (s *stage) rows(ctx context.Context, o options) ([]row, error) {
	many := func(name string) []string { return ids(name, o.entities) }
	one := func(name string) []string { return ids(name, 1) }
	ours := func(ctx context.Context) (*system, error) { return s.startOurs(ctx, o.journal, o.profile != "") }

	blocks := []struct {
		start func(context.Context) (*system, error)
		rows  []row
	}{
		{s.startNull, []row{
			{name: rowNull, title: "the generator alone, a gRPC server answers", ids: many("null"), to: echoCall},
			{name: rowGRPCEcho, title: "plain gRPC echo", ids: many("text"), to: plainTextCall},
		}},
		{s.startEcho, []row{
			{name: rowEcho, title: "echo through daprd and the actor stream", ids: many("echo"), to: echoCall},
		}},
		{s.startPlain, []row{
			{name: rowPlain, title: "plain actor on state.postgresql v2", ids: many("plain"), to: plainCall, total: plainTotal},
			{name: rowHotPlain, title: "one hot plain actor", ids: one("hot-plain"), to: plainCall, total: plainTotal},
			{name: rowSetPostgres, title: "set on state.postgresql v2", ids: many("set"), to: setCall},
			{name: rowGetPostgres, title: "get on state.postgresql v2", ids: many("get"), to: getCall, first: setCall},
		}},
		{ours, []row{
			{name: rowActor, title: "ours through the actor API", ids: many("actor"), to: actorCall, total: ourTotal},
			{name: rowBinding, title: "ours through the binding", ids: many("binding"), to: bindingCall, total: ourTotal},
			{name: rowGatewayEcho, title: "an action that echoes, gateway", ids: many("text"), to: gatewayTextCall},
			{name: rowGateway, title: "ours through the gateway", ids: many("gateway"), to: gatewayCall, total: gatewayTotal},
			{name: rowHotActor, title: "one hot entity, actor API", ids: one("hot-actor"), to: actorCall, total: ourTotal},
			{name: rowHotBinding, title: "one hot entity, binding", ids: one("hot"), to: bindingCall, total: ourTotal},
			{name: rowHotGateway, title: "one hot entity, gateway", ids: one("hot-gateway"), to: gatewayCall, total: gatewayTotal},
		}},
		{func(ctx context.Context) (*system, error) { return s.startStored(ctx, o.journal, o.profile != "") }, []row{
			{name: rowStored, title: "plain actor on state.entities", ids: many("plain"), to: plainCall, total: plainTotal},
			{name: rowSet, title: "set on state.entities", ids: many("set"), to: setCall, total: writes},
			{name: rowGet, title: "get on state.entities", ids: many("get"), to: getCall, first: setCall},
		}},
		{func(ctx context.Context) (*system, error) { return s.startRedis(ctx, o.data) }, []row{
			{name: rowSetRedis, title: "set on state.redis, appendfsync always", ids: many("set"), to: setCall, total: writes},
			{name: rowGetRedis, title: "get on state.redis", ids: many("get"), to: getCall, first: setCall},
		}},
	}

	var wanted []row

	for _, block := range blocks {
		rows := slices.DeleteFunc(block.rows, func(r row) bool { return !o.rows.MatchString(r.name) })
		if len(rows) == 0 {
			continue
		}

		system, err := block.start(ctx)
		if err != nil {
			return nil, err
		}

		for _, r := range rows {
			r.system, r.send = system, r.to(system)
			wanted = append(wanted, r)
		}
	}

	if o.rows.MatchString(rowPgbench) {
		bench, err := s.newPgbench(ctx, o.entities)
		if err != nil {
			return nil, err
		}

		wanted = append(wanted, row{name: rowPgbench, title: "Postgres alone: pgbench, single-row insert", bench: bench})
	}

	var others []string // which are no rows of the table

	for _, t := range transports {
		others = append(others, t.name)
	}

	for _, f := range feedings {
		others = append(others, f.name)
	}

	if len(wanted) == 0 && !slices.ContainsFunc(others, o.rows.MatchString) {
		names := slices.Concat(rowNames, others)

		return nil, fmt.Errorf("no row matches %q; there are %q", o.rows, names)
	}

	slices.SortStableFunc(wanted, func(a, b row) int {
		return slices.Index(rowNames, a.name) - slices.Index(rowNames, b.name)
	})

	return wanted, nil
}

// rounds measures every row in every round, forwards and backwards in turn.
func (s *stage) rounds(
	ctx context.Context, o options, rows []row, progress io.Writer,
) (map[string][]measurement, error) {
	done := make(map[string][]measurement)

	for round := range o.rounds {
		order := slices.Clone(rows)
		if round%2 == 1 {
			slices.Reverse(order)
		}

		for _, r := range order {
			m, err := s.once(ctx, o, r, round)
			if err != nil {
				return nil, err
			}

			done[r.name] = append(done[r.name], m)

			fmt.Fprintf(progress, "round %d/%d  %-16s %8.0f/s  p50 %7.2f ms  p99 %7.2f ms  max %7.1f ms  %d errors\n",
				round+1, o.rounds, r.name, m.rate(), m.quantile(50), m.quantile(99), m.quantile(100), m.failed)
		}
	}

	return done, nil
}

func (s *stage) once(ctx context.Context, o options, r row, round int) (measurement, error) {
	if err := s.postgres.checkpoint(ctx); err != nil {
		return measurement{}, err
	}

	if r.bench != nil {
		return r.bench.measure(ctx, o)
	}

	return s.measure(ctx, o, r, round)
}

// check reads back what the rows have stored. Every acknowledged command must be in it, and nothing else except
// commands that were answered with an error: a row that is fast because it does not do its work must not pass.
func (s *stage) check(ctx context.Context, o options, rows []row, done map[string][]measurement) error {
	var errs []error

	for _, r := range rows {
		switch {
		case r.bench != nil:
			errs = append(errs, r.bench.check(ctx))
		case r.total != nil:
			acked, unsure := int64(len(r.ids)), int64(0) // prime has called each of them once
			for _, m := range done[r.name] {
				acked += m.acked
				unsure += m.unsure
			}

			stored, err := sum(ctx, o.callers, r.total(r.system), r.ids)
			if err == nil && (stored < acked || stored > acked+unsure) {
				err = fmt.Errorf("%s: %d commands were acknowledged and %d failed, %d are stored",
					r.name, acked, unsure, stored)
			}

			errs = append(errs, err)
		}
	}

	return errors.Join(errs...)
}

// close ends everything, Postgres last.
func (s *stage) close() error {
	errs := make([]error, 0, len(s.systems)+2)

	if s.postgres != nil {
		errs = append(errs, s.postgres.admin.Close())
	}

	for _, system := range s.systems {
		errs = append(errs, system.conn.Close())

		if system.gateway != nil {
			errs = append(errs, system.gateway.Close())
		}
	}

	errs = append(errs, s.cluster.Close())

	for _, folder := range s.folders {
		errs = append(errs, os.RemoveAll(folder))
	}

	return errors.Join(errs...)
}
