package main

import (
	"context"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	pb "github.com/dapr-entities/entities/tests/bench/benchpb"
)

// What is called through the gateway has a protobuf description, so that it can be called by gRPC.
const (
	protoService = "bench.v1.ProtoAccount"
	echoService  = "bench.v1.Echo"

	protoDeposit sdk.Method[*pb.Amount, *pb.Balance] = protoService + "/Deposit"
	protoGet     sdk.Method[*pb.Key, *pb.Balance]    = protoService + "/Get"
	echoEcho     sdk.Method[*pb.Text, *pb.Text]      = echoService + "/Echo"
)

type protoTurn = eventsourced.Turn[pb.Balance]

var protoAccount = eventsourced.Entity[pb.Balance]{
	Service: protoService,
	Commands: []eventsourced.Command[pb.Balance]{
		eventsourced.Handle(protoDeposit, func(_ context.Context, t *protoTurn, in *pb.Amount) (*pb.Balance, error) {
			t.Emit(&pb.Deposited{Amount: in.GetAmount()})

			return &pb.Balance{Balance: t.State().GetBalance()}, nil
		}),
		eventsourced.Handle(protoGet, func(_ context.Context, t *protoTurn, _ *pb.Key) (*pb.Balance, error) {
			return &pb.Balance{Balance: t.State().GetBalance()}, nil
		}),
	},
	Events: []eventsourced.Event[pb.Balance]{
		eventsourced.On("deposited", func(s *pb.Balance, e *pb.Deposited) { s.Balance += e.GetAmount() }),
	},
	Idle: time.Hour,
}

var echo = action.Service{
	Service: echoService,
	Methods: []action.Method{
		action.Handle(echoEcho, func(_ context.Context, _ *action.Turn, in *pb.Text) (*pb.Text, error) { return in, nil }),
	},
}
