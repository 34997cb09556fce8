//go:build unix

package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// sign makes a certificate for somebody, by itself if there is nobody above.
func (a *authority) sign(t *testing.T, name string) (made *authority, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: a == nil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	above, with := template, private
	if a != nil {
		above, with = a.certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above, &private.PublicKey, with)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	made = &authority{certificate, private, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	return made, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// TestAuthentication opens journals on a server that asks who is there, in each way that the driver knows and a server
// without others can ask: passwords, encrypted or not, and certificates. Who is refused is told so, without the password.
func TestAuthentication(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := postgrestest.Start(ctx, postgrestest.Options{})
	if errors.Is(err, postgrestest.ErrNoPrograms) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	own := guarded(t, server.URL())
	at := func(user, password string, more ...string) string {
		u, err := url.Parse(server.URL())
		if err != nil {
			t.Fatal("the server's URL is none")
		}
		u.User = url.UserPassword(user, password)
		if password == "" {
			u.User = url.User(user)
		}
		query := u.Query()
		for i := 0; i < len(more); i += 2 {
			query.Set(more[i], more[i+1])
		}
		u.RawQuery = query.Encode()
		return u.String()
	}
	for _, test := range []struct {
		name, url, refused string
	}{
		{"scram", at("scram", "s3cret"), ""},
		{"md5", at("md5", "s3cret"), ""},
		{"password", at("password", "s3cret"), ""},
		{"scram over TLS", at("scram", "s3cret", "sslmode", "verify-full", "sslrootcert", own["root"]), ""},
		{"certificate", at("cert", "", "sslmode", "verify-full", "sslrootcert", own["root"], "sslcert", own["cert"], "sslkey", own["key"]), ""},
		{"wrong password", at("scram", "wr0ng"), "password authentication failed"},
		{"no password", at("scram", ""), "password"},
		{"no such user", at("nobody", "wr0ng"), "nobody"},
		{"certificate of nobody's", at("cert", "", "sslmode", "require"), "certificate"},
		{"certificate of somebody else", at("scram2", "", "sslmode", "require", "sslcert", own["cert"], "sslkey", own["key"]), "scram2"},
		{"a server that is not known", at("scram", "s3cret", "sslmode", "verify-full", "sslrootcert", own["other"]), "certificate signed by unknown authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j, err := postgres.Open(ctx, postgres.Config{URL: test.url, Schema: test.name})
			if test.refused != "" {
				if err == nil {
					j.Close()
				}
				if err == nil || !strings.Contains(err.Error(), test.refused) || strings.Contains(err.Error(), "wr0ng") || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got %v, want an error that says %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			ref := actors.Ref{Service: "s", ID: "1"}
			if r := j.Append(ctx, []journal.Append{{Ref: ref, Command: "c", Events: []journal.Event{{Name: "n"}}}})[0]; r.Status != journal.Committed {
				t.Error(r.Status, r.Err)
			}
			if last, err := j.Last(ctx, []actors.Ref{ref}); err != nil || last[0].Sequence != 1 {
				t.Error(last, err)
			}
		})
	}
}

// guarded has a server ask everybody but its own user who he is, each user as he is called, and returns files by what they are.
func guarded(t *testing.T, at string) map[string]string {
	t.Helper()
	db, err := sql.Open("postgres", at)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var data string
	if err := db.QueryRow("SHOW data_directory").Scan(&data); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	write := func(name string, content []byte) string {
		t.Helper()
		err := os.WriteFile(name, content, 0o600)
		if err == nil && filepath.Dir(name) == data {
			err = os.Chown(name, int(owner.Uid), int(owner.Gid))
		}
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	root, _ := (*authority)(nil).sign(t, "root")
	other, _ := (*authority)(nil).sign(t, "other")
	of, key := root.sign(t, "127.0.0.1")
	write(filepath.Join(data, "ours.crt"), of.pem)
	write(filepath.Join(data, "ours.key"), key)
	write(filepath.Join(data, "root.crt"), root.pem)
	write(filepath.Join(data, "pg_hba.conf"), []byte(`
host all test all trust
host all md5 all md5
host all password all password
hostssl all cert all cert
hostssl all scram2 all cert
host all all all scram-sha-256
`))
	for _, statement := range []string{
		"CREATE ROLE scram LOGIN SUPERUSER PASSWORD 's3cret'", "CREATE ROLE password LOGIN SUPERUSER PASSWORD 's3cret'",
		"SET password_encryption = md5", "CREATE ROLE md5 LOGIN SUPERUSER PASSWORD 's3cret'",
		"CREATE ROLE cert LOGIN SUPERUSER", "CREATE ROLE scram2 LOGIN SUPERUSER",
		"ALTER SYSTEM SET ssl_cert_file = 'ours.crt'", "ALTER SYSTEM SET ssl_key_file = 'ours.key'", "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
		"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()",
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(statement, err)
		}
	}
	for on, end := "off", time.Now().Add(time.Minute); on != "on"; {
		if err := db.QueryRow("SHOW ssl").Scan(&on); err != nil || time.Now().After(end) {
			t.Fatal("the server does not take its settings", on, err)
		}
		db.SetMaxIdleConns(0) // a session that was there before may know nothing of it
	}
	files := map[string]string{}
	folder := t.TempDir()
	certificate, key := root.sign(t, "cert")
	for name, content := range map[string][]byte{"root": root.pem, "other": other.pem, "cert": certificate.pem, "key": key} {
		files[name] = write(filepath.Join(folder, fmt.Sprint(name, ".pem")), content)
	}
	return files
}
