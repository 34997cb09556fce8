package main

import (
	"fmt"
	"slices"
)

// bound is a figure that has to be reached. A gate is asked for; a goal is hoped for.
type bound struct {
	what   string
	of, by string // rows
	figure func(measurement) float64
	limit  float64
	atMost bool
	isGate bool
}

func rate(m measurement) float64 { return m.rate() }
func p99(m measurement) float64  { return m.quantile(99) }

// bounds are the gates of the benchmark and the goals of the design.
var bounds = slices.Concat(
	actorBounds(0.4, 2, 0.5, true),
	[]bound{
		{
			what: "one hot entity by binding ÷ hot plain actor", by: rowHotPlain, limit: 5,
			of: rowHotBinding, figure: rate, isGate: true,
		},
		{
			what: "one hot entity by gateway ÷ hot plain actor", by: rowHotPlain, limit: 7,
			of: rowHotGateway, figure: rate, isGate: true,
		},
		{
			what: "echoing action by gateway ÷ plain gRPC echo", by: rowGRPCEcho, limit: 0.3,
			of: rowGatewayEcho, figure: rate, isGate: true,
		},
		{what: gatewayByPgbench, by: rowPgbench, limit: 0.5, of: rowGateway, figure: rate, isGate: true},
		{
			what: "plain actor on state.entities ÷ on state.postgresql", by: rowPlain, limit: 1,
			of: rowStored, figure: rate, isGate: true,
		},
		{what: "set on state.entities ÷ on state.postgresql", by: rowSetPostgres, limit: 1, of: rowSet, figure: rate, isGate: true},
		{what: "get on state.entities ÷ on state.postgresql", by: rowGetPostgres, limit: 0.65, of: rowGet, figure: rate, isGate: true},
	},
	actorBounds(0.5, 2.5, 0.25, false),
	[]bound{
		{what: gatewayByPgbench, by: rowPgbench, limit: 0.65, of: rowGateway, figure: rate},
	},
)

const gatewayByPgbench = "ours by gateway ÷ pgbench"

// actorBounds are about ours through the actor API.
func actorBounds(echo, plain, tail float64, isGate bool) []bound {
	return []bound{
		{what: "ours by actor API ÷ echo", by: rowEcho, limit: echo, of: rowActor, figure: rate, isGate: isGate},
		{what: "ours by actor API ÷ plain actor", by: rowPlain, limit: plain, of: rowActor, figure: rate, isGate: isGate},
		{
			what: "p99 of ours by actor API ÷ p99 of plain actor", by: rowPlain, limit: tail, atMost: true,
			of: rowActor, figure: p99, isGate: isGate,
		},
	}
}

// String says what is asked for.
func (b bound) String() string {
	sign := "≥"
	if b.atMost {
		sign = "≤"
	}

	return fmt.Sprintf("%s %s %g", b.what, sign, b.limit)
}

// met tells whether the figure is good enough.
func (b bound) met(figure float64) bool {
	if b.atMost {
		return figure <= b.limit
	}

	return figure >= b.limit
}

// ratio is the median of the rounds' ratios: what disturbs a round disturbs both of its sides. It is false if one of
// the rows was not measured, or had a round in which nothing succeeded.
func ratio(of, by []measurement, figure func(measurement) float64) (float64, bool) {
	if len(of) == 0 || len(of) != len(by) {
		return 0, false
	}

	ratios := make([]float64, len(of))

	for i := range of {
		below := figure(by[i])
		if below == 0 {
			return 0, false
		}

		ratios[i] = figure(of[i]) / below
	}

	return median(ratios), true
}

// median of an even number of values is the mean of the two in the middle. There must be one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2

	if len(sorted)%2 == 1 {
		return sorted[middle]
	}

	return (sorted[middle-1] + sorted[middle]) / 2
}

func medianOf(measurements []measurement, figure func(measurement) float64) float64 {
	values := make([]float64, len(measurements))
	for i, m := range measurements {
		values[i] = figure(m)
	}

	return median(values)
}
