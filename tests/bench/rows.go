package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// row is one line of the table: entities of a system and a way to reach them, or pgbench.
type row struct {
	name  string // short, for -rows and for gates
	title string

	ids []string
	to  func(*system) call
	// first is what an entity is prepared with; to, if it is nil.
	first func(*system) call
	// total returns how to read what an entity has stored; it is nil if entities store nothing, or do not count.
	total func(*system) balanceOf

	// Set when the system has been started.
	system *system
	send   call

	bench *pgbench
}

// The names that gates speak of.
const (
	rowNull        = "null"
	rowEcho        = "echo"
	rowGRPCEcho    = "grpc-echo"
	rowGatewayEcho = "gateway-echo"
	rowGateway     = "ours-gateway"
	rowHotGateway  = "hot-ours-gateway"
	rowPlain       = "plain"
	rowActor       = "ours-actor"
	rowBinding     = "ours-binding"
	rowHotPlain    = "hot-plain"
	rowHotActor    = "hot-ours-actor"
	rowHotBinding  = "hot-ours-binding"
	rowPgbench     = "pgbench"
	rowStored      = "plain-on-ours"
	rowSetPostgres = "set-postgresql"
	rowSet         = "set-ours"
	rowSetRedis    = "set-redis"
	rowGetPostgres = "get-postgresql"
	rowGet         = "get-ours"
	rowGetRedis    = "get-redis"
)

// rowNames is the order of the table.
var rowNames = []string{
	rowNull, rowEcho, rowGRPCEcho, rowGatewayEcho, rowPlain, rowActor, rowBinding, rowGateway,
	rowHotPlain, rowHotActor, rowHotBinding, rowHotGateway, rowPgbench,
	rowStored, rowSetPostgres, rowSet, rowSetRedis, rowGetPostgres, rowGet, rowGetRedis,
}

// The rows through daprd send this, those by gRPC the same as protobuf; the entities answer with the balance, which takes about as many bytes.
var deposit = []byte(`{"amount":1}`)

// ids are the entities of a row. Rows share none, so that each can count what it has stored.
func ids(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = prefix + "-" + strconv.Itoa(i)
	}

	return all
}

func echoCall(s *system) call {
	return func(ctx context.Context, id string) error {
		data, err := s.invoke(ctx, "Echo", id, "Echo", deposit)
		if err == nil && !bytes.Equal(data, deposit) {
			return fmt.Errorf("the echo of %s is %.100q", deposit, data)
		}

		return err
	}
}

func plainCall(s *system) call {
	return func(ctx context.Context, id string) error {
		data, err := s.invoke(ctx, plainType, id, "Deposit", deposit)
		if err != nil {
			return err
		}

		_, err = parseBalance(data)

		return err
	}
}

func plainTotal(s *system) balanceOf {
	return func(ctx context.Context, id string) (int64, error) {
		data, err := s.invoke(ctx, plainType, id, "Balance", nil)
		if err != nil {
			return 0, err
		}

		return parseBalance(data)
	}
}

var (
	balanceOpens  = []byte(`{"balance":`)
	balanceCloses = []byte(`}`)
)

// parseBalance reads {"balance":5}. The usual form is read by hand: the generator shares the processors with what it
// measures.
func parseBalance(data []byte) (int64, error) {
	if inner, ok := bytes.CutPrefix(data, balanceOpens); ok {
		if digits, ok := bytes.CutSuffix(inner, balanceCloses); ok {
			if n, err := strconv.ParseInt(string(digits), 10, 64); err == nil {
				return n, nil
			}
		}
	}

	var reply struct {
		Balance *int64 `json:"balance"`
	}

	if err := json.Unmarshal(data, &reply); err != nil || reply.Balance == nil {
		return 0, fmt.Errorf("the reply is no balance: %.100q", data)
	}

	return *reply.Balance, nil
}
