package feed

import (
	"context"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

type mailbox struct{}

func newMailbox() mailbox { return mailbox{} }
func (mailbox) ring()     {}

type plan struct{}

func (s *Subscription) run(ctx context.Context) error { <-ctx.Done(); return nil }
func (s *Subscription) consume(ctx context.Context, _ int, _ func(ctx context.Context, e journal.Event) error) error {
	<-ctx.Done()
	return nil
}
func (s *Subscription) pause(bool)                                     {}
func (s *Subscription) work(ctx context.Context, _ *lease.Held) error { <-ctx.Done(); return nil }
