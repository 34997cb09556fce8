package peers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/dapr-entities/entities/actors/replica/slot"
)

// What goes over the wire: one method, whose messages are bytes, and two headers.
const (
	service     = "entities.peers.v1.Peers"
	methodAsk   = "/" + service + "/Ask"
	headerTo    = "entities-to"    // slot.epoch of the member that is asked
	headerProof = "entities-proof" // that the sender has the shared key
)

// message is one that passes as it is.
type message struct{ data []byte }

type codec struct{}

func (codec) Name() string { return "entities-bytes" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("marshal a %T: it is no message", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(m.data)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("unmarshal a %T: it is no message", v)
	}
	m.data = data.Materialize()
	return nil
}

// Run implements replica.Peers. It closes the Direct in the end, and can be called once.
func (d *Direct) Run(ctx context.Context, answer func(ctx context.Context, request []byte) ([]byte, error)) error {
	server := grpc.NewServer(
		d.security(),
		grpc.ForceServerCodecV2(codec{}),
		grpc.InTapHandle(d.admit),
		grpc.MaxRecvMsgSize(d.config.MaxMessage), grpc.MaxSendMsgSize(d.config.MaxMessage),
		grpc.MaxConcurrentStreams(uint32(d.config.Concurrency)),
		grpc.MaxHeaderListSize(8<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WaitForHandlers(true),
	)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: service, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Ask", Handler: d.handle}},
	}, d)
	d.mu.Lock()
	d.answer = answer
	d.mu.Unlock()
	defer d.Close()

	var running sync.WaitGroup
	defer running.Wait()
	served := make(chan error, 1)
	running.Go(func() { served <- server.Serve(d.listener) })
	if d.config.Otherwise != nil {
		others, cancel := context.WithCancel(ctx)
		defer cancel()
		running.Go(func() {
			if err := d.config.Otherwise.Run(others, answer); err != nil {
				d.config.Log.Error("members without an address cannot be answered any more", "error", err)
			}
		})
	}
	defer server.Stop()
	sweep := time.NewTicker(d.config.Idle)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-sweep.C:
			d.sweep(now)
		case err := <-served:
			return fmt.Errorf("answer other members at %s: %w", d.listener.Addr(), err)
		}
	}
}

// admit refuses strangers before anything of what they send is read.
func (d *Direct) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if info.FullMethodName != methodAsk {
		return nil, status.Errorf(codes.Unimplemented, "there is only %s here", methodAsk)
	}
	if d.proofs == nil {
		return ctx, nil
	}
	q, err := d.proofs.check(first(info.Header, headerProof), first(info.Header, headerTo), time.Now())
	if err != nil {
		d.refused(err)
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return context.WithValue(ctx, questionKey{}, q), nil
}

type questionKey struct{}

// refused tells the log, now and then.
func (d *Direct) refused(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.told) > 10*time.Second {
		d.told = time.Now()
		d.config.Log.Warn("refused a question of another member, or of a stranger", "error", err)
	}
}

// handle is the method Ask.
func (d *Direct) handle(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC has it so
	select {
	case d.answers <- struct{}{}:
		defer func() { <-d.answers }()
	default:
		return nil, status.Errorf(codes.ResourceExhausted, "%d questions are being answered already", cap(d.answers))
	}
	in := &message{}
	if err := decode(in); err != nil {
		return nil, err
	}
	q, _ := ctx.Value(questionKey{}).(question)
	if d.proofs != nil && !q.covers(in.data) {
		return nil, status.Error(codes.Unauthenticated, "the question is not the one that its proof is of")
	}
	header, _ := metadata.FromIncomingContext(ctx)
	if !meant(ctx, d.config.Self, first(header, headerTo)) {
		return nil, status.Error(codes.FailedPrecondition, "another member is meant: this one is new at its address, or has lost its slot")
	}
	d.mu.Lock()
	answer := d.answer
	d.mu.Unlock()
	out, err := answer(ctx, in.data)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return nil, status.FromContextError(err).Err()
	case err != nil:
		return nil, status.Error(codes.Unknown, err.Error())
	case len(out) > d.config.MaxMessage:
		return nil, status.Errorf(codes.ResourceExhausted, "the answer has %d bytes; at most %d are allowed", len(out), d.config.MaxMessage)
	}
	if d.proofs != nil {
		if err := grpc.SetHeader(ctx, metadata.Pairs(headerProof, d.proofs.ofAnswer(q.nonce, out))); err != nil {
			return nil, err
		}
	}
	return &message{out}, nil
}

// meant tells whether a question is for this process. Whoever is no member yet may become the one that is meant: others know
// of a member a moment before it does itself.
func meant(ctx context.Context, self func() (slot.Member, bool), target string) bool {
	const moment, step = 500 * time.Millisecond, 10 * time.Millisecond
	for range moment / step {
		if m, member := self(); member || ctx.Err() != nil {
			return name(m) == target
		}
		pause(ctx, step)
	}
	return false
}

func first(header metadata.MD, key string) string {
	if values := header.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}
