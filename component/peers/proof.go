package peers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// proofs show that a sender has the shared key, and what it sent. A proof of a question is
//
//	time.nonce.hash.mac
//
// with the time in milliseconds, the SHA-256 of the question, and the HMAC-SHA-256, by the key, of all that and of whom it is
// for. That of an answer is the HMAC of the question's nonce and the answer's hash.
type proofs struct {
	key    []byte
	window time.Duration

	mu sync.Mutex
	// seen and before are the nonces of the last two spans of two windows.
	seen, before map[string]struct{}
	since        time.Time
}

// maxNonces is how many are remembered in each span, which is shorter where there are more: memory is bounded, and a question
// that is repeated does little harm.
const maxNonces = 1 << 17

// question is what a proof says of one.
type question struct {
	nonce string
	hash  string
}

func (q question) covers(body []byte) bool { return q.hash == hash(body) }

var base = base64.RawURLEncoding

func hash(body []byte) string {
	sum := sha256.Sum256(body)
	return base.EncodeToString(sum[:])
}

func (p *proofs) mac(parts ...string) string {
	h := hmac.New(sha256.New, p.key)
	for _, s := range parts {
		_, _ = h.Write([]byte(s)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return base.EncodeToString(h.Sum(nil))
}

func (p *proofs) ofQuestion(to, nonce string, now time.Time, body []byte) string {
	at, sum := strconv.FormatInt(now.UnixMilli(), 10), hash(body)
	return strings.Join([]string{at, nonce, sum, p.mac("question", to, at, nonce, sum)}, ".")
}

func (p *proofs) ofAnswer(nonce string, body []byte) string {
	return p.mac("answer", nonce, hash(body))
}

func (p *proofs) isOfAnswer(proof, nonce string, body []byte) bool {
	return hmac.Equal([]byte(proof), []byte(p.ofAnswer(nonce, body)))
}

// The reasons are for whoever set the members up; a stranger learns nothing by them.
var (
	errNoProof  = errors.New("it does not prove that the sender has the shared key; is it set there?")
	errBadProof = errors.New("it was made with another shared key; all members need the same")
)

// check the proof of a question before the question is read.
func (p *proofs) check(proof, to string, now time.Time) (question, error) {
	parts := strings.Split(proof, ".")
	if len(parts) != 4 || len(proof) > 1000 {
		return question{}, errNoProof
	}
	at, nonce, sum, mac := parts[0], parts[1], parts[2], parts[3]
	if !hmac.Equal([]byte(mac), []byte(p.mac("question", to, at, nonce, sum))) {
		return question{}, errBadProof
	}
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil || nonce == "" {
		return question{}, errNoProof
	}
	if off := now.Sub(time.UnixMilli(ms)).Abs(); off > p.window {
		return question{}, fmt.Errorf("it is %s off this process's clock, and at most %s are allowed; set the machines' clocks", off, p.window)
	}
	return question{nonce, sum}, p.once(nonce, now)
}

// once refuses what was asked before: a proof is good for two windows, around the time in it.
func (p *proofs) once(nonce string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := now.Sub(p.since); p.seen == nil || d > 2*p.window || len(p.seen) >= maxNonces {
		p.before = p.seen
		if d > 4*p.window {
			p.before = nil
		}
		p.seen, p.since = map[string]struct{}{}, now
	}
	_, again := p.seen[nonce]
	_, earlier := p.before[nonce]
	if again || earlier {
		return errors.New("it has been asked before")
	}
	p.seen[nonce] = struct{}{}
	return nil
}
