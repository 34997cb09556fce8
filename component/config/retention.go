package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Retention is how much is kept of the past of the state keys that begin with Prefix, unless a longer prefix has them.
// What is beyond either limit goes; with neither, nothing does.
type Retention struct {
	Prefix string
	// Count is how many versions are kept, 0 for all.
	Count int
	// Age is how long a version is kept after it was replaced, deleted or expired, 0 for ever.
	Age time.Duration
}

// String is as it may be written.
func (r Retention) String() string {
	var parts []string
	if r.Count > 0 {
		parts = append(parts, fmt.Sprintf("count=%d", r.Count))
	}
	if r.Age > 0 {
		parts = append(parts, "age="+r.Age.String())
	}
	return cmp.Or(strings.Join(parts, ","), "off")
}

// The limits of retention.
const (
	maxRetentionCount = 1_000_000_000
	minRetentionAge   = time.Second
)

// parseRetention keeps the longest prefix first.
func parseRetention(c *Config, prefix, value string) error {
	r := Retention{Prefix: prefix}
	switch {
	case strings.EqualFold(value, "off"):
	case value == "" && prefix == "":
		return nil
	default:
		for part := range strings.SplitSeq(value, ",") {
			name, text, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch n, err := strconv.Atoi(text); {
			case name == "count" && r.Count == 0:
				if err != nil || n < 1 || n > maxRetentionCount {
					return fmt.Errorf("has a count that is no whole number from 1 to %d", maxRetentionCount)
				}
				r.Count = n
			case name == "age" && r.Age == 0:
				age, err := time.ParseDuration(text)
				if err != nil || age < minRetentionAge {
					return fmt.Errorf("has an age that is no duration of at least %s, such as 720h (there are no days)", minRetentionAge)
				}
				r.Age = age
			default:
				return errors.New("is not such as count=10, age=720h, count=10,age=720h or off")
			}
		}
	}
	c.Retention = append(c.Retention, r)
	slices.SortFunc(c.Retention, func(a, b Retention) int {
		return cmp.Or(cmp.Compare(len(b.Prefix), len(a.Prefix)), strings.Compare(a.Prefix, b.Prefix))
	})
	return nil
}

// RetentionOf returns the rule of a key as the app writes it. false says that all of its past is kept.
func (c *Config) RetentionOf(key string) (Retention, bool) {
	for _, r := range c.Retention {
		if strings.HasPrefix(key, r.Prefix) {
			return r, r.Count > 0 || r.Age > 0
		}
	}
	return Retention{}, false
}

// The values of KeyPrefix that mean something; any other stands for itself.
const (
	keyPrefixAppID     = "appid"
	keyPrefixName      = "name"
	keyPrefixNamespace = "namespace"
	keyPrefixNone      = "none"
)

// keyPrefix takes the setting as the sidecar does.
func keyPrefix(s Setting) Setting {
	s.parse = func(c *Config, _, value string) error {
		c.KeyPrefix = cmp.Or(strings.ToLower(value), keyPrefixAppID)
		return nil
	}
	return s
}

// checkRetention refuses rules if it is not known whose keys they are about: others may share the journal.
func (c *Config) checkRetention() error {
	switch {
	case !c.Retains():
		return nil
	case c.AppID == "":
		return errors.New("retention needs appId, so that it leaves the keys of other apps alone; write appId: {appID}")
	case c.KeyPrefix == keyPrefixNamespace:
		return errors.New("retention does not know the namespace of keyPrefix: namespace; write keyPrefix: \"{namespace}\", which the sidecar replaces by namespace and app id")
	}
	return nil
}

// Retains reports whether there is a rule by which something goes.
func (c *Config) Retains() bool {
	return slices.ContainsFunc(c.Retention, func(r Retention) bool { return r.Count > 0 || r.Age > 0 })
}

// KeySpaces returns what state keys of this component begin with: what the sidecar puts before those of the state API, and
// before those of actors. The empty one is that of keys without ||.
func (c *Config) KeySpaces() []string {
	space := c.KeyPrefix + "||"
	switch c.KeyPrefix {
	case keyPrefixAppID:
		space = c.AppID + "||"
	case keyPrefixName:
		space = c.Name + "||"
	case keyPrefixNone:
		space = ""
	}
	spaces := []string{space, c.AppID + "||"}
	slices.Sort(spaces)
	return slices.Compact(spaces)
}
