package config

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// CRDT is the type of replicated keys of the state store.
type CRDT string

// The values of CRDT.
const (
	CRDTGCounter    CRDT = "gcounter"
	CRDTPNCounter   CRDT = "pncounter"
	CRDTGSet        CRDT = "gset"
	CRDTORSet       CRDT = "orset"
	CRDTLWWRegister CRDT = "lwwregister"
	CRDTFlag        CRDT = "flag"
	CRDTORMap       CRDT = "ormap"
	CRDTVote        CRDT = "vote"
)

var crdts = []CRDT{CRDTGCounter, CRDTPNCounter, CRDTGSet, CRDTORSet, CRDTLWWRegister, CRDTFlag, CRDTORMap, CRDTVote}

// CRDTKeys are the keys of the state store that begin with Prefix, unless a longer prefix has them.
type CRDTKeys struct {
	Prefix string
	Type   CRDT
}

// parseCRDT keeps the longest prefix first.
func parseCRDT(c *Config, prefix, value string) error {
	if strings.Contains(prefix, "||") {
		return errors.New("has || in the prefix, which no key has; leave out what the sidecar puts before keys")
	}
	keys := CRDTKeys{Prefix: prefix}
	if err := choice(func(*Config) *CRDT { return &keys.Type }, crdts...)(c, "", value); err != nil {
		return err
	}
	c.CRDT = append(c.CRDT, keys)
	slices.SortFunc(c.CRDT, func(a, b CRDTKeys) int {
		return cmp.Or(cmp.Compare(len(b.Prefix), len(a.Prefix)), strings.Compare(a.Prefix, b.Prefix))
	})
	return nil
}
