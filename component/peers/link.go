package peers

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// LinkConfig of a Link. Bus and Self are needed.
type LinkConfig struct {
	// Bus that carries everything.
	Bus replica.Bus
	// Self is who this process is at present, and whether it is a member.
	Self func() (slot.Member, bool)
	// MaxMessage is the largest question or answer in bytes: what the Bus takes, less 64. Defaults to 512 KiB less 64.
	MaxMessage int
	// Concurrency is how many questions are being answered at a time; more are refused. Defaults to 64.
	Concurrency int
	// Timeout of answering a question. Defaults to 5 seconds.
	Timeout time.Duration
}

// Link carries questions and answers over a bus, beside its batches, for members that cannot reach each other directly. All
// hear everything, so it is for few and small ones. A question that gets lost is answered by the end of its context.
type Link struct {
	config  LinkConfig
	origin  uint64
	answers chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	last    uint64     // number of a question
	waiting map[uint64]chan<- reply
	// answer and its context are nil unless the Peers' Run runs.
	answer func(context.Context, []byte) ([]byte, error)
	ctx    context.Context
}

type reply struct {
	body []byte
	err  error
}

// NewLink makes a Link, whose Bus and Peers are to be run both.
func NewLink(config LinkConfig) (*Link, error) {
	c := &config
	c.MaxMessage, c.Concurrency, c.Timeout = cmp.Or(c.MaxMessage, 512<<10-64), cmp.Or(c.Concurrency, 64), cmp.Or(c.Timeout, 5*time.Second)
	if c.Bus == nil || c.Self == nil || c.MaxMessage < 1 || c.Concurrency < 1 || c.Timeout < 1 {
		return nil, errors.New("configure questions over a bus: Bus and Self are needed, and MaxMessage, Concurrency and Timeout positive")
	}
	return &Link{
		config: config, origin: rand.Uint64(), answers: make(chan struct{}, c.Concurrency), waiting: map[uint64]chan<- reply{},
	}, nil
}

// Bus is that of the batches.
func (l *Link) Bus() replica.Bus { return linkBus{l} }

// Peers is that of the questions.
func (l *Link) Peers() replica.Peers { return linkPeers{l} }

type linkBus struct{ *Link }

type linkPeers struct{ *Link }

// What a message begins with.
const (
	linkBatch    = 'B'
	linkQuestion = 'Q' // slot and epoch that are asked, origin, number
	linkAnswer   = 'A' // origin and number of the question
	linkRefusal  = 'R' // the same; and why
)

// Publish implements replica.Bus.
func (b linkBus) Publish(ctx context.Context, batch []byte) error {
	return b.config.Bus.Publish(ctx, append(append(make([]byte, 0, 1+len(batch)), linkBatch), batch...))
}

// Run implements replica.Bus.
func (b linkBus) Run(ctx context.Context, deliver func(batch []byte)) error {
	return b.config.Bus.Run(ctx, func(message []byte) {
		if len(message) > 0 && message[0] == linkBatch {
			deliver(message[1:])
			return
		}
		b.take(message)
	})
}

// Ask implements replica.Peers.
func (p linkPeers) Ask(ctx context.Context, to slot.Member, request []byte) ([]byte, error) {
	body, err := p.ask(ctx, to, request)
	if err != nil {
		return nil, fmt.Errorf("ask the member in slot %d over the bus: %w", to.Slot, err)
	}
	return body, nil
}

func (l *Link) ask(ctx context.Context, to slot.Member, request []byte) ([]byte, error) {
	if len(request) > l.config.MaxMessage {
		return nil, fmt.Errorf("the question has %d bytes, at most %d are allowed; set peerAddress", len(request), l.config.MaxMessage)
	}
	replies := make(chan reply, 1)
	l.mu.Lock()
	l.last++
	number := l.last
	l.waiting[number] = replies
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, number)
		l.mu.Unlock()
	}()
	message := append(make([]byte, 0, 32+len(request)), linkQuestion)
	message = binary.LittleEndian.AppendUint16(message, uint16(to.Slot))
	message = binary.LittleEndian.AppendUint32(message, uint32(to.Epoch))
	message = binary.LittleEndian.AppendUint64(message, l.origin)
	message = binary.LittleEndian.AppendUint64(message, number)
	if err := l.config.Bus.Publish(ctx, append(message, request...)); err != nil {
		return nil, err
	}
	select {
	case r := <-replies:
		return r.body, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("it did not answer: %w", context.Cause(ctx))
	}
}

// Run implements replica.Peers.
func (p linkPeers) Run(ctx context.Context, answer func(ctx context.Context, request []byte) ([]byte, error)) error {
	p.mu.Lock()
	p.answer, p.ctx = answer, ctx
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.answer = nil
	p.mu.Unlock()
	p.running.Wait()
	return nil
}

// take what is no batch. What is damaged, or for others, is dropped.
func (l *Link) take(message []byte) {
	const question, answer = 1 + 2 + 4 + 8 + 8, 1 + 8 + 8
	switch {
	case len(message) >= question && message[0] == linkQuestion:
		to := slot.Member{Slot: crdt.Slot(binary.LittleEndian.Uint16(message[1:])), Epoch: crdt.Epoch(binary.LittleEndian.Uint32(message[3:]))}
		self, member := l.config.Self()
		if !member || name(self) == name(to) {
			l.begin(name(to), message[7:question], message[question:])
		}
	case len(message) >= answer && (message[0] == linkAnswer || message[0] == linkRefusal):
		if binary.LittleEndian.Uint64(message[1:]) != l.origin {
			return
		}
		r := reply{body: message[answer:]}
		if message[0] == linkRefusal {
			r = reply{err: errors.New(string(r.body))}
		}
		l.mu.Lock()
		replies := l.waiting[binary.LittleEndian.Uint64(message[9:])]
		l.mu.Unlock()
		select {
		case replies <- r:
		default: // nobody waits any more, or it came twice
		}
	}
}

// begin to answer a question, if it is for us, from an origin with a number.
func (l *Link) begin(target string, from, request []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answer == nil {
		return
	}
	select {
	case l.answers <- struct{}{}:
	default:
		return // it is asked again
	}
	answer, ctx := l.answer, l.ctx
	l.running.Go(func() {
		defer func() { <-l.answers }()
		ctx, cancel := context.WithTimeout(ctx, l.config.Timeout)
		defer cancel()
		if !meant(ctx, l.config.Self, target) {
			return
		}
		kind := byte(linkAnswer)
		body, err := answer(ctx, request)
		if err == nil && len(body) > l.config.MaxMessage {
			err = fmt.Errorf("the answer has %d bytes, at most %d go over the bus; set peerAddress", len(body), l.config.MaxMessage)
		}
		if err != nil {
			kind, body = linkRefusal, []byte(err.Error())
			body = body[:min(len(body), 1000)]
		}
		message := append(append(make([]byte, 0, 1+len(from)+len(body)), kind), from...)
		_ = l.config.Bus.Publish(ctx, append(message, body...)) // who asked will ask again
	})
}
