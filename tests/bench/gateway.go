package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	pb "github.com/dapr-entities/entities/tests/bench/benchpb"
)

// protoType is the actor type of the account that is called through the gateway.
const protoType = "ProtoAccount"

// textCall sends a text to an echo by gRPC, whoever serves it.
func textCall(conn *grpc.ClientConn) call {
	return func(ctx context.Context, id string) error {
		in, out := &pb.Text{Text: id}, new(pb.Text)

		err := conn.Invoke(ctx, "/bench.v1.Echo/Echo", in, out)
		if err == nil && out.GetText() != id {
			return fmt.Errorf("the echo of %s is %.100q", id, out.GetText())
		}

		return err //nolint:wrapcheck // reported as it is, once per row
	}
}

func plainTextCall(s *system) call { return textCall(s.conn) }

func gatewayTextCall(s *system) call { return textCall(s.gateway) }

func gatewayCall(s *system) call {
	return func(ctx context.Context, id string) error {
		out := new(pb.Balance)

		err := s.gateway.Invoke(ctx, "/bench.v1.ProtoAccount/Deposit", &pb.Amount{AccountId: id, Amount: 1}, out)
		if err == nil && out.GetBalance() < 1 {
			return fmt.Errorf("the balance of %s after a deposit is %d", id, out.GetBalance())
		}

		return err //nolint:wrapcheck // reported as it is, once per row
	}
}

func gatewayTotal(s *system) balanceOf {
	return func(ctx context.Context, id string) (int64, error) {
		out := new(pb.Balance)
		if err := s.gateway.Invoke(ctx, "/bench.v1.ProtoAccount/Get", &pb.Key{AccountId: id}, out); err != nil {
			return 0, fmt.Errorf("read the balance of %s: %w", id, err)
		}

		return out.GetBalance(), nil
	}
}
