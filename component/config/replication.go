package config

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// Transport is how replicated entities hear of the writes of other nodes.
type Transport string

// The values of Transport.
const (
	// TransportAuto is the journal if nodes can share it, else none.
	TransportAuto Transport = "auto"
	// TransportNone is for one node.
	TransportNone Transport = "none"
	// TransportJournal is the Postgres that the journal is in.
	TransportJournal Transport = "journal"
	// TransportPubsub is a pub/sub component of the sidecar.
	TransportPubsub Transport = "pubsub"
)

// Replication says how replicated entities hear of the writes of other nodes.
type Replication struct {
	Transport Transport
	// Pubsub names the component of TransportPubsub.
	Pubsub string
}

func parseReplication(c *Config, _, value string) error {
	scheme, pubsub, named := strings.Cut(value, ":")
	r := Replication{Transport: Transport(strings.ToLower(scheme)), Pubsub: pubsub}
	switch r.Transport {
	case TransportPubsub:
		if pubsub == "" {
			return errors.New("names no pub/sub component; write pubsub:<name of the component>")
		}
	case TransportAuto, TransportNone, TransportJournal:
		if named {
			return errors.New("has something after a value that takes nothing; use auto, none, journal or pubsub:<name of the component>")
		}
	default:
		return errors.New("is not a way to replicate; use auto, none, journal or pubsub:<name of the component>")
	}
	c.Replication = r
	return nil
}

// resolveReplication makes auto what it comes to, and checks the rest against the journal.
func (c *Config) resolveReplication() error {
	shared := c.Journal.Scheme == "postgres"
	switch {
	case c.Replication.Transport == TransportAuto && shared:
		c.Replication.Transport = TransportJournal
	case c.Replication.Transport == TransportAuto:
		c.Replication.Transport = TransportNone
	case c.Replication.Transport != TransportNone && !shared:
		return errors.New("replication between nodes needs a journal that they share: set journal to postgres://…, or replication to none")
	}
	if err := c.PeerTLS.validate(); err != nil {
		return err
	}
	if c.PeerAddress != "" && c.PeerKey == "" && !c.PeerTLS.On() && !loopback(c.PeerAddress) {
		return errors.New("peerAddress is open to other machines, so it needs a peerKey, the same on all nodes, or a peerCertificate")
	}
	return nil
}

// PeerTLS are the files by which nodes know each other at PeerAddress.
type PeerTLS struct {
	// Certificate, its Key, and the certificates of the Authority that issued those of all nodes.
	Certificate, Key, Authority string
	// Name is a DNS name that all certificates have, or empty.
	Name string
}

// On says whether certificates are used.
func (t *PeerTLS) On() bool { return t.Certificate != "" }

// validate refuses what is set by halves: it would look protected and not be.
func (t *PeerTLS) validate() error {
	var missing []string
	for _, s := range []struct{ name, value string }{
		{"peerCertificate", t.Certificate}, {"peerCertificateKey", t.Key}, {"peerAuthority", t.Authority},
	} {
		if s.value == "" {
			missing = append(missing, s.name)
		}
	}
	switch {
	case len(missing) == 0 || len(missing) == 3 && t.Name == "":
		return nil
	default:
		return fmt.Errorf("certificates between nodes need peerCertificate, peerCertificateKey and peerAuthority; missing: %s",
			strings.Join(missing, " and "))
	}
}

func parsePeerKey(c *Config, _, value string) error {
	if value != "" && len(value) < minPeerKey {
		return errors.New("is shorter than 16 characters, so it could be guessed")
	}
	c.PeerKey = Secret(value)
	return nil
}

const minPeerKey = 16

// loopback reports whether only this machine reaches an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
