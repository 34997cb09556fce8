package bank

import (
	"context"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

const transferService = "bank.v1.Transfer"

// The methods of transfers. The last five are what the accounts answer.
const (
	Start  sdk.Method[Order, Transfer]    = transferService + "/Start"
	Status sdk.Method[struct{}, Transfer] = transferService + "/Status"

	Debited  sdk.Method[struct{}, struct{}] = transferService + "/Debited"
	Refused  sdk.Method[Reason, struct{}]   = transferService + "/Refused"
	Credited sdk.Method[struct{}, struct{}] = transferService + "/Credited"
	Rejected sdk.Method[Reason, struct{}]   = transferService + "/Rejected"
	Refunded sdk.Method[struct{}, struct{}] = transferService + "/Refunded"
)

// Order says what is transferred.
type Order struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"`
}

// Reason of a refusal.
type Reason struct {
	Reason string `json:"reason"`
}

// Phase is how far a transfer is.
type Phase string

// The phases. A transfer ends Completed or Failed.
const (
	Debiting  Phase = "debiting"
	Crediting Phase = "crediting"
	Refunding Phase = "refunding"
	Completed Phase = "completed"
	Failed    Phase = "failed"
)

// Transfer is the state of one, and what callers see of it.
type Transfer struct {
	Order  Order  `json:"order"`
	Phase  Phase  `json:"phase"`
	Reason string `json:"reason,omitempty"` // for Refunding and Failed
}

// The events of transfers.
type (
	transferStarted struct {
		Order Order `json:"order"`
	}
	sourceDebited     struct{}
	transferCompleted struct{}
	targetRejected    struct {
		Reason string `json:"reason"`
	}
	transferFailed struct {
		Reason string `json:"reason"`
	}
)

// Transfers is the definition of their service.
var Transfers = eventsourced.Entity[Transfer]{
	Service: transferService,
	Commands: []eventsourced.Command[Transfer]{
		eventsourced.Handle(Start, start),
		eventsourced.Handle(Status, status),
		eventsourced.Handle(Debited, debited),
		eventsourced.Handle(Refused, refused),
		eventsourced.Handle(Credited, credited),
		eventsourced.Handle(Rejected, rejected),
		eventsourced.Handle(Refunded, refunded),
	},
	Events: []eventsourced.Event[Transfer]{
		eventsourced.On("transfer-started", func(t *Transfer, e transferStarted) { t.Order, t.Phase = e.Order, Debiting }),
		eventsourced.On("source-debited", func(t *Transfer, _ sourceDebited) { t.Phase = Crediting }),
		eventsourced.On("transfer-completed", func(t *Transfer, _ transferCompleted) { t.Phase = Completed }),
		eventsourced.On("target-rejected", func(t *Transfer, e targetRejected) { t.Phase, t.Reason = Refunding, e.Reason }),
		eventsourced.On("transfer-failed", func(t *Transfer, e transferFailed) { t.Phase, t.Reason = Failed, e.Reason }),
	},
}

type transfer = eventsourced.Turn[Transfer]

// start may be repeated with the same order, which changes nothing.
func start(_ context.Context, t *transfer, in Order) (Transfer, error) {
	switch err := (Money{in.Amount}).check(); {
	case in.From == "" || in.To == "" || in.From == in.To:
		return Transfer{}, sdk.Errorf(sdk.CodeInvalidArgument, "a transfer goes from one account to another one")
	case err != nil:
		return Transfer{}, err
	case t.State().Phase != "" && t.State().Order != in:
		return Transfer{}, sdk.Errorf(sdk.CodeAlreadyExists, "the transfer %s is another one", t.ID())
	case t.State().Phase == "":
		t.Emit(transferStarted{in})
		eventsourced.Effect(t, Debit.On(in.From, Step{t.ID(), in.Amount}))
	}
	return *t.State(), nil
}

func status(_ context.Context, t *transfer, _ struct{}) (Transfer, error) {
	if t.State().Phase == "" {
		return Transfer{}, sdk.Errorf(sdk.CodeNotFound, "there is no transfer %q", t.ID())
	}
	return *t.State(), nil
}

// Each answer belongs to one phase. In another one it has been here before, or somebody made it up.

func debited(_ context.Context, t *transfer, _ struct{}) (struct{}, error) {
	if err := during(t, Debiting); err != nil {
		return struct{}{}, err
	}
	t.Emit(sourceDebited{})
	eventsourced.Effect(t, Credit.On(t.State().Order.To, Step{t.ID(), t.State().Order.Amount}))
	return struct{}{}, nil
}

func refused(_ context.Context, t *transfer, in Reason) (struct{}, error) {
	if err := during(t, Debiting); err != nil {
		return struct{}{}, err
	}
	t.Emit(transferFailed(in))
	return struct{}{}, nil
}

func credited(_ context.Context, t *transfer, _ struct{}) (struct{}, error) {
	if err := during(t, Crediting); err != nil {
		return struct{}{}, err
	}
	t.Emit(transferCompleted{})
	return struct{}{}, nil
}

func rejected(_ context.Context, t *transfer, in Reason) (struct{}, error) {
	if err := during(t, Crediting); err != nil {
		return struct{}{}, err
	}
	t.Emit(targetRejected(in))
	eventsourced.Effect(t, Refund.On(t.State().Order.From, Step{t.ID(), t.State().Order.Amount}))
	return struct{}{}, nil
}

func refunded(_ context.Context, t *transfer, _ struct{}) (struct{}, error) {
	if err := during(t, Refunding); err != nil {
		return struct{}{}, err
	}
	t.Emit(transferFailed{t.State().Reason})
	return struct{}{}, nil
}

func during(t *transfer, want Phase) error {
	if phase := t.State().Phase; phase != want {
		return sdk.Errorf(sdk.CodeFailedPrecondition, "the transfer %s is %q, not %s", t.ID(), string(phase), want)
	}
	return nil
}
