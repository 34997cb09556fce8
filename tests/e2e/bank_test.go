package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/samples/bank"
	"github.com/dapr-entities/entities/samples/profile"
	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/client"
	"github.com/dapr-entities/entities/tests/harness"
)

// gateway starts a host of a sample that has a gateway, and makes a caller of it.
func gateway(t *testing.T, sample string, actorTypes ...string) (*system, sdk.Caller) {
	t.Helper()
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	s := start(t, harness.HostOptions{
		Handler:    harness.HandlerOptions{Package: "samples/" + sample + "/cmd/" + sample},
		Metadata:   map[string]string{"gatewayAddress": address},
		ActorTypes: actorTypes,
	})
	return s, client.Gateway(address, client.Config{})
}

// insist repeats a call until it is answered, by whatever decided it.
func insist[In, Out any](ctx context.Context, c sdk.Caller, call sdk.Call[In, Out], key string) (out Out, err error) {
	for {
		one, cancel := context.WithTimeout(ctx, 3*time.Second)
		out, err = sdk.Invoke(one, c, call, sdk.WithKey(key))
		cancel()
		switch sdk.CodeOf(err) {
		case sdk.CodeUnavailable, sdk.CodeAborted, sdk.CodeDeadlineExceeded, sdk.CodeCanceled, sdk.CodeUnknown, sdk.CodeInternal, sdk.CodeUnimplemented:
		default:
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("%s of %s: %w", call.Method, call.ID, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Component and handler are killed while money moves. Every transfer comes to its end, and the money is the same.
func TestBankKeepsMoney(t *testing.T) {
	t.Parallel()
	const accounts, transfers, clients, deposited = 10, 100, 5, 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s, c := gateway(t, "bank", "Account", "Transfer")
	ctx := within(t, time.Minute)
	name := func(i int) string { return fmt.Sprintf("a%d", i) }
	for i := range accounts {
		if _, err := insist(ctx, c, bank.Open.On(name(i), struct{}{}), "open"); err != nil {
			t.Fatal(err)
		}
		if _, err := insist(ctx, c, bank.Deposit.On(name(i), bank.Money{Amount: deposited}), "deposit"); err != nil {
			t.Fatal(err)
		}
	}

	var load sync.WaitGroup
	for n := range clients {
		load.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			for i := n; i < transfers; i += clients {
				from := r.IntN(accounts)
				// Of the targets one is not there; of the amounts a part is too large.
				to := (from + 1 + r.IntN(accounts)) % (accounts + 1)
				order := bank.Order{From: name(from), To: name(to), Amount: 1 + r.Int64N(deposited)}
				if _, err := insist(ctx, c, bank.Start.On(fmt.Sprintf("t%d", i), order), "start"); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
			}
		})
	}
	r := rand.New(rand.NewPCG(seed, clients))
	for range 4 {
		time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
		if r.IntN(2) == 0 {
			s.Component.Kill()
			supervise(t, s.Component)
		} else {
			s.Handler.Kill()
			supervise(t, s.Handler)
		}
	}
	load.Wait()

	phases := map[bank.Phase]int{}
	for i := range transfers {
		id := fmt.Sprintf("t%d", i)
		for n := 0; ; n++ {
			got, err := insist(ctx, c, bank.Status.On(id, struct{}{}), fmt.Sprintf("status%d", n))
			if err != nil {
				t.Fatal(err)
			}
			if got.Phase == bank.Completed || got.Phase == bank.Failed {
				phases[got.Phase]++
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s does not come to an end: %+v", id, got)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	var sum int64
	for i := range accounts {
		got, err := insist(ctx, c, bank.Show.On(name(i), struct{}{}), "balance")
		if err != nil {
			t.Fatal(err)
		}
		if got.Balance < 0 {
			t.Errorf("%s has %d", name(i), got.Balance)
		}
		sum += got.Balance
	}
	if sum != accounts*deposited {
		t.Errorf("the accounts hold %d, want %d", sum, accounts*deposited)
	}
	if phases[bank.Completed] == 0 || phases[bank.Failed] == 0 {
		t.Errorf("the transfers ended as %v, want some of both: the test proves little", phases)
	}
	t.Logf("the transfers: %v", phases)
}

// Protobuf and REST through the real gateway.
func TestProfileThroughGateway(t *testing.T) {
	t.Parallel()
	_, c := gateway(t, "profile", "Profiles")
	ctx := within(t, 30*time.Second)
	for _, id := range []string{"ada", "a/b?c%", "..", "ö"} {
		put, err := insist(ctx, c, profile.PutProfile.On(id, &profile.Profile{Id: id, Name: "Ada"}), "k")
		if err != nil || put.GetId() != id || put.GetRevision() != 1 {
			t.Fatal(put, err)
		}
		again, err := insist(ctx, c, profile.PutProfile.On(id, &profile.Profile{Id: id, Name: "Ada"}), "k")
		if err != nil || !proto.Equal(put, again) {
			t.Errorf("the same key: %v, %v", again, err)
		}
	}
	_, err := sdk.Invoke(ctx, c, profile.GetProfile.On("nobody", &profile.GetProfileRequest{Id: "nobody"}))
	if sdk.CodeOf(err) != sdk.CodeNotFound || err.Error() != `there is no profile "nobody"` {
		t.Errorf("a profile that is not there: %v %v", sdk.CodeOf(err), err)
	}
	_, err = sdk.Invoke(ctx, c, profile.GetProfile.With(&profile.GetProfileRequest{Id: "ada"}))
	if sdk.CodeOf(err) != sdk.CodeUnimplemented {
		t.Errorf("a call without an entity: %v %v", sdk.CodeOf(err), err)
	}
}
