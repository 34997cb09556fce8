package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReplication(t *testing.T) {
	t.Parallel()
	const shared = "postgres://entities@db/entities"
	for _, c := range []struct {
		name     string
		metadata map[string]string
		want     Replication
		problem  string
	}{
		{"default", nil, Replication{Transport: TransportNone}, ""},
		{"default of a shared journal", map[string]string{"journal": shared}, Replication{Transport: TransportJournal}, ""},
		{"none", map[string]string{"journal": shared, "replication": "None"}, Replication{Transport: TransportNone}, ""},
		{"pubsub", map[string]string{"journal": shared, "replication": "pubsub:Redis"}, Replication{TransportPubsub, "Redis"}, ""},
		{"pubsub without a name", map[string]string{"journal": shared, "replication": "pubsub:"}, Replication{}, "names no pub/sub component"},
		{"no name wanted", map[string]string{"journal": shared, "replication": "journal:x"}, Replication{}, "takes nothing"},
		{"unknown", map[string]string{"replication": "gossip"}, Replication{}, "is not a way to replicate"},
		{"no shared journal", map[string]string{"replication": "pubsub:redis"}, Replication{}, "needs a journal that they share"},
		{"open port", map[string]string{"journal": shared, "peerAddress": "0.0.0.0:9100"}, Replication{}, "needs a peerKey"},
		{"short key", map[string]string{"journal": shared, "peerKey": "123456789012345"}, Replication{}, "shorter than 16"},
		{"open port with a key", map[string]string{"journal": shared, "peerAddress": "0.0.0.0:9100", "peerKey": "1234567890123456"}, Replication{Transport: TransportJournal}, ""},
		{"open port with certificates", map[string]string{
			"journal": shared, "peerAddress": "0.0.0.0:9100", "peerCertificate": "c.pem", "peerCertificateKey": "k.pem", "peerAuthority": "ca.pem", "peerName": "entities",
		}, Replication{Transport: TransportJournal}, ""},
		{"a certificate without its key", map[string]string{"journal": shared, "peerCertificate": "c.pem", "peerAuthority": "ca.pem"}, Replication{}, "missing: peerCertificateKey"},
		{"a key without its certificate", map[string]string{
			"journal": shared, "peerAddress": "0.0.0.0:9100", "peerKey": "1234567890123456", "peerCertificateKey": "k.pem",
		}, Replication{}, "missing: peerCertificate and peerAuthority"},
		{"no authority", map[string]string{"journal": shared, "peerCertificate": "c.pem", "peerCertificateKey": "k.pem"}, Replication{}, "missing: peerAuthority"},
		{"a name alone", map[string]string{"journal": shared, "peerName": "entities"}, Replication{}, "peerCertificate and peerCertificateKey and peerAuthority"},
		{"loopback", map[string]string{"journal": shared, "peerAddress": "127.0.0.1:9100"}, Replication{Transport: TransportJournal}, ""},
	} {
		got, err := FromMetadata(c.metadata)
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "12345")):
			t.Errorf("%s: got %v, want %s", c.name, err, c.problem)
		case c.problem == "":
			if diff := cmp.Diff(c.want, got.Replication); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
		}
	}
}
