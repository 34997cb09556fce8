package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// actorType of the service that the load goes to, a user function made for tests.
const actorType = "Account"

// patience is how long a client goes on asking for the answer to one command, with the same key.
const patience = 30 * time.Second

// client sends one command after the other, each until its answer settles it.
type client struct {
	id       int
	random   *rand.Rand
	sidecars []*harness.Client
	// at is the sidecar in use: the other one after a failure, and any of them now and then.
	at       int
	accounts []string
	history  *history
	// failed counts the attempts that brought no answer: the sign that faults were felt.
	failed *atomic.Int64
}

// Run sends commands until ctx ends. A command that was begun is brought to its end.
func (c *client) Run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		o := operation{
			Client: c.id, Account: c.account(), Key: fmt.Sprintf("c%d-%d", c.id, n),
			Amount: 1 + c.random.Int64N(9), Kind: deposit,
		}
		switch r := c.random.IntN(10); {
		case r < 2:
			o.Kind, o.Amount = get, 0
		case r < 4:
			o.Kind, o.Amount = withdraw, 1+c.random.Int64N(40)
		}
		if c.random.IntN(8) == 0 {
			c.at = c.random.IntN(len(c.sidecars))
		}
		c.settle(context.WithoutCancel(ctx), &o)
		c.history.add(o)
	}
}

// account: a third of the commands go to a few hot accounts, or nothing would ever run side by side.
func (c *client) account() string {
	if c.random.IntN(3) == 0 {
		return c.accounts[c.random.IntN(min(4, len(c.accounts)))]
	}
	return c.accounts[c.random.IntN(len(c.accounts))]
}

func (c *client) settle(ctx context.Context, o *operation) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	o.Call = c.history.now()
	o.Verdict = unknown
	for o.Verdict == unknown && ctx.Err() == nil {
		o.Attempts++
		if o.Attempts == 1 {
			o.Sidecar = c.at
		}
		if err := c.attempt(ctx, o, c.sidecars[c.at]); err != nil {
			c.at = (c.at + 1) % len(c.sidecars)
			o.Error = err.Error()
			c.failed.Add(1)
			time.Sleep(time.Duration(20+c.random.IntN(150)) * time.Millisecond)
		}
	}
	o.Return = c.history.now()
}

var (
	methods = map[kind]string{deposit: "Deposit", withdraw: "Withdraw", get: "Get"}
	tail    = regexp.MustCompile(`\[entities code=([A-Z_]+) entity=\S+ sequence=(\d+)\]`)
)

// attempt sends the command once. An error settles nothing.
func (c *client) attempt(ctx context.Context, o *operation, sidecar *harness.Client) error {
	// Most give up before a failover is over and come back while the first attempt is still on its way. Some wait for
	// what a zombie has to say.
	wait := time.Duration(1500+c.random.IntN(4000)) * time.Millisecond
	if c.random.IntN(3) == 0 {
		wait = 15 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	body := []byte("{}")
	if o.Kind != get {
		body = fmt.Appendf(nil, `{"amount":%d}`, o.Amount)
	}
	r, err := sidecar.Actor(ctx, actorType, o.Account, methods[o.Kind],
		map[string]string{"Idempotency-Key": o.Key, "Content-Type": "application/json"}, body)
	if err != nil {
		return err
	}
	if !r.OK() {
		m := tail.FindSubmatch(r.Body)
		if m == nil || string(m[1]) != "FAILED_PRECONDITION" {
			return fmt.Errorf("status %d: %.300s", r.Status, r.Body)
		}
		o.Verdict = refused
		o.Sequence, err = strconv.ParseInt(string(m[2]), 10, 64)
		return err
	}
	var reply struct {
		Balance int64 `json:"balance"`
	}
	if err := json.Unmarshal(r.Body, &reply); err != nil {
		return fmt.Errorf("reply %q: %w", r.Body, err)
	}
	sequence, err := strconv.ParseInt(r.Header.Get("entities-sequence"), 10, 64)
	if err != nil {
		return fmt.Errorf("reply without a sequence: %w", err)
	}
	o.Verdict, o.Sequence, o.Balance = done, sequence, reply.Balance
	return nil
}
