package peers

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

var quiet = slog.New(slog.DiscardHandler)

// within bounds what a test waits for.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// node is a Direct that runs.
type node struct {
	*Direct
	self slot.Member
}

func directly(t *testing.T, change func(*DirectConfig), answer func(context.Context, []byte) ([]byte, error)) *node {
	t.Helper()
	n := &node{self: slot.Member{Slot: 3, Epoch: 7}}
	config := DirectConfig{Listen: "127.0.0.1:0", Log: quiet, Self: func() (slot.Member, bool) { return n.self, true }}
	if change != nil {
		change(&config)
	}
	var err error
	if n.Direct, err = NewDirect(config); err != nil {
		t.Fatal(err)
	}
	n.self.Address = n.Address()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, answer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n
}

func echo(_ context.Context, request []byte) ([]byte, error) {
	return append([]byte("re: "), request...), nil
}

func key(s string) func(*DirectConfig) {
	return func(c *DirectConfig) { c.Key = []byte(strings.Repeat(s, MinKeyBytes)) }
}

func TestDirectAsk(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*DirectConfig){"open": nil, "key": key("a")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := directly(t, change, echo), directly(t, change, echo)
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					request := bytes.Repeat([]byte{byte(i)}, i*50_000)
					got, err := a.Ask(within(t), b.self, request)
					if want := append([]byte("re: "), request...); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				})
			}
			wg.Wait()
			if got, err := a.Ask(within(t), a.self, nil); err != nil || string(got) != "re: " {
				t.Errorf("asked itself: %q, %v", got, err)
			}
		})
	}
}

func TestDirectRefuses(t *testing.T) {
	t.Parallel()
	wait := make(chan struct{})
	b := directly(t, func(c *DirectConfig) {
		key("a")(c)
		c.MaxMessage, c.Concurrency = 1000, 2
	}, func(ctx context.Context, request []byte) ([]byte, error) {
		switch string(request) {
		case "wait":
			<-wait
		case "big":
			return make([]byte, 1001), nil
		case "fail":
			return nil, errors.New("the handler's own words")
		case "long":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return request, nil
	})
	friend := directly(t, func(c *DirectConfig) { key("a")(c); c.MaxMessage = 2000 }, echo)
	short := func(t *testing.T) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	other := b.self
	other.Epoch++
	for _, test := range []struct {
		name    string
		from    *node
		to      slot.Member
		request string
		ctx     func(*testing.T) context.Context
		want    string
	}{
		{"another key", directly(t, key("b"), echo), b.self, "", nil, "another shared key"},
		{"no key", directly(t, nil, echo), b.self, "", nil, "does not prove"},
		{"nothing", friend, b.self, "fine", nil, ""},
		{"another epoch", friend, other, "", nil, "another member is meant"},
		{"a question too big to send", friend, b.self, strings.Repeat("x", 2001), nil, "at most 2000"},
		{"a question too big to receive", friend, b.self, strings.Repeat("x", 1900), nil, "larger than max"},
		{"an answer too big", friend, b.self, "big", nil, "at most 1000"},
		{"a failure", friend, b.self, "fail", nil, "the handler's own words"},
		{"a long answer", friend, b.self, "long", short, "DeadlineExceeded"},
		{"nobody there", friend, slot.Member{Slot: 9, Epoch: 1, Address: "127.0.0.1:1"}, "", nil, "refused"},
		{"no address", friend, slot.Member{Slot: 9, Epoch: 1}, "", nil, "peerAddress"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := within(t)
			if test.ctx != nil {
				ctx = test.ctx(t)
			}
			got, err := test.from.Ask(ctx, test.to, []byte(test.request))
			if test.want == "" {
				if err != nil || string(got) != test.request {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "aaaa") || strings.Contains(err.Error(), "xxxx")) {
				t.Errorf("the error has a secret or a payload: %v", err)
			}
		})
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := friend.Ask(within(t), b.self, []byte("wait")); err != nil {
				t.Error(err)
			}
		})
	}
	for len(b.answers) < 2 {
		time.Sleep(time.Millisecond)
	}
	// The client holds a third one back, because the server allows two streams; another client's is refused.
	third := directly(t, key("a"), echo)
	if _, err := third.Ask(within(t), b.self, nil); err == nil || !strings.Contains(err.Error(), "2 questions are being answered") {
		t.Errorf("the third question: %v", err)
	}
	close(wait)
	wg.Wait()
	if _, err := third.Ask(within(t), b.self, nil); err != nil {
		t.Error(err)
	}
}

// TestProofs sends questions by hand: repeated, changed on the way, for another, old.
func TestProofs(t *testing.T) {
	t.Parallel()
	b := directly(t, key("a"), echo)
	raw, err := grpc.NewClient("passthrough:///"+b.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ask := func(proof, to string, body string) error {
		ctx := metadata.AppendToOutgoingContext(within(t), headerTo, to)
		if proof != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, headerProof, proof)
		}
		return raw.Invoke(ctx, methodAsk, &message{[]byte(body)}, &message{}, grpc.ForceCodecV2(codec{}))
	}
	to := name(b.self)
	good := b.proofs.ofQuestion(to, "n1", time.Now(), []byte("q"))
	if err := ask(good, to, "q"); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"repeated":     ask(good, to, "q"),
		"changed":      ask(b.proofs.ofQuestion(to, "n2", time.Now(), []byte("q")), to, "Q"),
		"for another":  ask(b.proofs.ofQuestion("1.1", "n3", time.Now(), []byte("q")), to, "q"),
		"old":          ask(b.proofs.ofQuestion(to, "n4", time.Now().Add(-2*time.Minute), []byte("q")), to, "q"),
		"early":        ask(b.proofs.ofQuestion(to, "n5", time.Now().Add(2*time.Minute), []byte("q")), to, "q"),
		"none":         ask("", to, "q"),
		"three parts":  ask("1.2.3", to, "q"),
		"long":         ask(strings.Repeat("1.", 900), to, "q"),
		"without time": ask(".n.h."+b.proofs.mac("question", to, "", "n", "h"), to, "q"),
	} {
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := raw.Invoke(within(t), "/"+service+"/Other", &message{}, &message{}, grpc.ForceCodecV2(codec{})); status.Code(err) != codes.Unimplemented {
		t.Errorf("another method: %v", err)
	}

	// Whoever answers has to prove it, too.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stranger := grpc.NewServer(grpc.ForceServerCodecV2(codec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		return s.SendMsg(&message{[]byte("trust me")})
	}))
	var wg sync.WaitGroup
	wg.Go(func() { _ = stranger.Serve(l) })
	defer wg.Wait()
	defer stranger.Stop()
	if got, err := b.Ask(within(t), slot.Member{Slot: 1, Epoch: 1, Address: l.Addr().String()}, nil); err == nil || !strings.Contains(err.Error(), "does not prove") {
		t.Errorf("a stranger's answer: %q, %v", got, err)
	}
}

func TestNoncesAreForgotten(t *testing.T) {
	t.Parallel()
	p := &proofs{key: []byte("k"), window: time.Minute}
	now := time.Unix(1000, 0)
	for i := range 2*maxNonces + 10 {
		if err := p.once(fmt.Sprint(i), now); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.seen) + len(p.before); n > 2*maxNonces {
		t.Errorf("%d nonces are kept", n)
	}
	if err := p.once(fmt.Sprint(2*maxNonces), now.Add(time.Minute)); err == nil {
		t.Error("a repeated one is accepted")
	}
	if err := p.once("x", now.Add(time.Hour)); err != nil || len(p.seen)+len(p.before) != 1 {
		t.Errorf("%d are kept after an hour, %v", len(p.seen)+len(p.before), err)
	}
}

type elsewhere struct{ replica.Peers }

func (elsewhere) Ask(_ context.Context, to slot.Member, request []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%d: %s", to.Slot, request), nil
}

func (elsewhere) Run(ctx context.Context, _ func(context.Context, []byte) ([]byte, error)) error {
	<-ctx.Done()
	return nil
}

func TestDirectOtherwise(t *testing.T) {
	t.Parallel()
	a := directly(t, func(c *DirectConfig) { c.Otherwise = elsewhere{} }, echo)
	if got, err := a.Ask(within(t), slot.Member{Slot: 5, Epoch: 1}, []byte("q")); err != nil || string(got) != "5: q" {
		t.Errorf("%q, %v", got, err)
	}
}

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = template, nil
	a.cert, a.key = a.issue("ca", template)
	return a
}

func (a *authority) issue(file string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = made
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &made.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(made)
	if err != nil {
		a.t.Fatal(err)
	}
	for ending, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(a.dir, file+ending), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, made
}

// member returns the settings of one with a certificate that has a DNS name.
func (a *authority) member(dns string) *TLSConfig {
	a.issue(dns, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: dns}, DNSNames: []string{dns}, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	path := func(name string) string { return filepath.Join(a.dir, name) }
	return &TLSConfig{Cert: path(dns + ".crt"), Key: path(dns + ".key"), CA: path("ca.crt"), Name: "cart"}
}

func TestDirectTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	with := func(c *TLSConfig) func(*DirectConfig) {
		return func(d *DirectConfig) { d.TLS = c }
	}
	b := directly(t, with(ours.member("cart")), echo)
	nameless := ours.member("other")
	nameless.Name = ""
	for _, test := range []struct {
		name  string
		from  *node
		works bool
	}{
		{"the same", directly(t, with(ours.member("cart")), echo), true},
		{"another authority", directly(t, with(theirs.member("cart")), echo), false},
		{"another name", directly(t, with(nameless), echo), false},
		{"none", directly(t, nil, echo), false},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		got, err := test.from.Ask(ctx, b.self, []byte("q"))
		cancel()
		if (err == nil) != test.works || test.works && string(got) != "re: q" {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
	}
}

// Certificates are read again, and a file that is being replaced does no harm.
func TestCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	f := &files{config: *a.member("cart")}
	serial := func() *big.Int {
		t.Helper()
		f.at = time.Time{} // long ago
		l, err := f.load()
		if err != nil {
			t.Fatal(err)
		}
		return l.cert.Leaf.SerialNumber
	}
	was := serial()
	whole, err := os.ReadFile(f.config.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.config.Cert, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if now := serial(); now.Cmp(was) != 0 {
		t.Errorf("half a file is used: %s", now)
	}
	a.issue("cart", &x509.Certificate{SerialNumber: big.NewInt(99), DNSNames: []string{"cart"}, NotAfter: time.Now().Add(time.Hour)})
	if now := serial(); now.Int64() != 99 {
		t.Errorf("certificate %s is used, want the new one", now)
	}
}

func BenchmarkAsk(b *testing.B) {
	for name, config := range map[string]DirectConfig{"open": {}, "key": {Key: []byte("a key of sixteen bytes")}} {
		b.Run(name, func(b *testing.B) {
			self := slot.Member{Slot: 1, Epoch: 1}
			config.Listen, config.Log, config.Self = "127.0.0.1:0", quiet, func() (slot.Member, bool) { return self, true }
			d, err := NewDirect(config)
			if err != nil {
				b.Fatal(err)
			}
			self.Address = d.Address()
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { _ = d.Run(ctx, echo) })
			defer running.Wait()
			defer cancel()
			request := make([]byte, 1000)
			b.SetBytes(int64(len(request)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := d.Ask(ctx, self, request); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func TestDirectConfig(t *testing.T) {
	t.Parallel()
	self := func() (slot.Member, bool) { return slot.Member{}, false }
	long := []byte(strings.Repeat("k", MinKeyBytes))
	for _, test := range []struct {
		name   string
		config DirectConfig
		want   string
	}{
		{"loopback", DirectConfig{Listen: "127.0.0.1:0", Self: self}, ""},
		{"loopback 6", DirectConfig{Listen: "[::1]:0", Self: self}, ""},
		{"localhost", DirectConfig{Listen: "localhost:0", Self: self}, ""},
		{"open to all", DirectConfig{Listen: "0.0.0.0:0", Advertise: "a:1", Self: self}, "open to everybody"},
		{"open to all, without a host", DirectConfig{Listen: ":0", Advertise: "a:1", Self: self}, "open to everybody"},
		{"open to some", DirectConfig{Listen: "example.org:0", Self: self}, "open to everybody"},
		{"with a key", DirectConfig{Listen: "0.0.0.0:0", Advertise: "a:1", Key: long, Self: self}, ""},
		{"nowhere to be found", DirectConfig{Listen: ":0", Key: long, Self: self}, "Advertise"},
		{"advertised without a port", DirectConfig{Listen: "127.0.0.1:0", Advertise: "a", Self: self}, "Advertise"},
		{"a short key", DirectConfig{Listen: "127.0.0.1:0", Key: long[1:], Self: self}, "15 bytes"},
		{"no port", DirectConfig{Listen: "127.0.0.1", Self: self}, "host:port"},
		{"nobody", DirectConfig{Listen: "127.0.0.1:0"}, "Self"},
		{"limits", DirectConfig{Listen: "127.0.0.1:0", Self: self, MaxMessage: -1, Window: -1}, "Window"},
		{"half of TLS", DirectConfig{Listen: "127.0.0.1:0", Self: self, TLS: &TLSConfig{Cert: "x"}}, "all needed"},
		{"no certificate", DirectConfig{Listen: "127.0.0.1:0", Self: self, TLS: &TLSConfig{Cert: "/none", Key: "/none", CA: "/none"}}, "/none"},
	} {
		if strings.HasSuffix(test.name, " 6") && !hasIPv6() {
			continue
		}
		d, err := NewDirect(test.config)
		if err == nil {
			d.Close()
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	return l.Close() == nil
}
