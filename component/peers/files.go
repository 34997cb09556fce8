package peers

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSConfig says who a member is by certificates, which are read again when they are renewed.
type TLSConfig struct {
	// Cert, Key and CA are the paths of PEM files: this process's certificate with its chain, its key, and the
	// certificates of the authority whose certificates members have.
	Cert, Key, CA string
	// Name is a DNS name that the certificates of all members have. Defaults to none: then everybody with a certificate of
	// the authority is a member, and it must issue none to others.
	Name string
}

func (c *TLSConfig) validate() error {
	if c.Cert == "" || c.Key == "" || c.CA == "" {
		return errors.New("of TLS, the certificate, its key and the authority's certificate are all needed")
	}
	return nil
}

// files are the certificates as they were read last.
type files struct {
	config TLSConfig

	mu     sync.Mutex
	loaded loaded
	at     time.Time
}

type loaded struct {
	cert tls.Certificate
	pool *x509.CertPool
}

// load reads the files if that is long ago. Ones that cannot be read now do not replace those that could.
func (f *files) load() (loaded, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded.pool != nil && time.Since(f.at) < 30*time.Second {
		return f.loaded, nil
	}
	now, err := f.config.read()
	if err != nil && f.loaded.pool == nil {
		return loaded{}, err
	}
	if err == nil {
		f.loaded = now
	}
	f.at = time.Now()
	return f.loaded, nil
}

func (c *TLSConfig) read() (l loaded, err error) {
	if l.cert, err = tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
		return loaded{}, fmt.Errorf("read the certificate %s and its key: %w", c.Cert, err)
	}
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return loaded{}, fmt.Errorf("read the authority's certificate: %w", err)
	}
	l.pool = x509.NewCertPool()
	if !l.pool.AppendCertsFromPEM(ca) {
		return loaded{}, fmt.Errorf("read the authority's certificate: there is none in %s", c.CA)
	}
	return l, nil
}

func (f *files) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			l, err := f.load()
			return &l.cert, err
		},
		ClientAuth:       tls.RequireAnyClientCert, // verified here:
		VerifyConnection: f.verify(x509.ExtKeyUsageClientAuth),
	}
}

func (f *files) client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			l, err := f.load()
			return &l.cert, err
		},
		// Addresses of pods are in no certificate. Who is at one is verified here:
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection:   f.verify(x509.ExtKeyUsageServerAuth),
	}
}

func (f *files) verify(usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		l, err := f.load()
		if err != nil {
			return err
		}
		if len(state.PeerCertificates) == 0 {
			return errors.New("there is no certificate")
		}
		options := x509.VerifyOptions{
			Roots: l.pool, DNSName: f.config.Name, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage},
		}
		for _, c := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(c)
		}
		_, err = state.PeerCertificates[0].Verify(options)
		return err
	}
}
