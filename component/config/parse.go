package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

type parser = func(c *Config, suffix, value string) error

func dapr(name, typ string, scope Scope, meaning, example string) Setting {
	return Setting{
		Name: name, Type: typ, Meaning: meaning + " The sidecar's own setting.", Example: example, Dapr: true, Scope: scope,
		Sensitive: strings.HasSuffix(name, "EncryptionKey"),
	}
}

func text(field func(*Config) *string) parser {
	return func(c *Config, _, value string) error {
		if value == "" {
			return errors.New("must not be empty")
		}
		*field(c) = value
		return nil
	}
}

func optional(field func(*Config) *string) parser {
	return func(c *Config, _, value string) error {
		*field(c) = value
		return nil
	}
}

func choice[T ~string](field func(*Config) *T, allowed ...T) parser {
	return func(c *Config, _, value string) error {
		i := slices.IndexFunc(allowed, func(a T) bool { return strings.EqualFold(string(a), value) })
		if i < 0 {
			return fmt.Errorf("is none of %s", join(allowed))
		}
		*field(c) = allowed[i]
		return nil
	}
}

func boolean(field func(*Config) *bool) parser {
	return func(c *Config, _, value string) error {
		switch strings.ToLower(value) {
		case "true", "yes", "on", "1", "y", "t": // as Dapr does
			*field(c) = true
		case "false", "no", "off", "0", "n", "f":
			*field(c) = false
		default:
			return errors.New("is neither true nor false")
		}
		return nil
	}
}

func duration(field func(*Config) *time.Duration, least, most string) parser {
	return func(c *Config, _, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil {
			return errors.New("is not a duration such as 10s, 1m30s or 500ms")
		}
		lo, _ := time.ParseDuration(least)
		hi, _ := time.ParseDuration(most)
		if d < lo || d > hi {
			return fmt.Errorf("is not between %s and %s", least, most)
		}
		*field(c) = d
		return nil
	}
}

func number(field func(*Config) *int, least, most int) parser {
	return func(c *Config, _, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return errors.New("is not a whole number")
		}
		if n < least || n > most {
			return fmt.Errorf("is not between %d and %d", least, most)
		}
		*field(c) = n
		return nil
	}
}

var units = []struct {
	suffix string
	bytes  int64
}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"K", 1e3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"", 1}}

func size(field func(*Config) *int64, least, most int64) parser {
	return func(c *Config, _, value string) error {
		for _, u := range units {
			digits, ok := strings.CutSuffix(value, u.suffix)
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(digits, 10, 64)
			if err != nil {
				return errors.New("is not a size such as 4Mi, 512Ki or 1000000")
			}
			if n < 0 || n > most/u.bytes || n*u.bytes < least {
				return fmt.Errorf("is not between %d and %d bytes", least, most)
			}
			*field(c) = n * u.bytes
			return nil
		}
		return nil
	}
}

var (
	serviceName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
	typeName    = regexp.MustCompile(`^[^/\\#?%\s\x00-\x1f\x7f|]{1,128}$`)
	socketName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,40}$`)
)

func parseActorType(c *Config, service, value string) error {
	if !serviceName.MatchString(service) {
		return errors.New("does not name a service after actorType., such as actorType.shop.v1.ShoppingCart")
	}
	if !typeName.MatchString(value) || value == "." || value == ".." {
		return errors.New(`is not a name for an actor type: 1 to 128 bytes without spaces, control characters and any of / \ # ? % |`)
	}
	if c.ActorTypes == nil {
		c.ActorTypes = map[string]string{}
	}
	c.ActorTypes[service] = value
	return nil
}

// address is host:port, or off, which leaves it empty.
func address(field func(*Config) *string) func(c *Config, name, value string) error {
	return func(c *Config, _, value string) error {
		if strings.EqualFold(value, "off") {
			*field(c) = ""
			return nil
		}
		if _, port, err := net.SplitHostPort(value); err != nil || !isPort(port) {
			return errors.New("is neither host:port nor off")
		}
		*field(c) = value
		return nil
	}
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// parseServices takes names, and patterns, as long as a subscription can have them.
func parseServices(c *Config, _, value string) error {
	c.Services = nil
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if len(name) > 128 || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return errors.New("is not a list of names, separated by commas, each of up to 128 bytes without control characters")
		}
		c.Services = append(c.Services, name)
	}
	if len(c.Services) > 1000 {
		return errors.New("has more than 1000 names")
	}
	return nil
}

// parseTopicRetention leaves 0 for ever. Whoever publishes and is in doubt about it looks for his message, which has to be
// there.
func parseTopicRetention(c *Config, _, value string) error {
	if strings.EqualFold(value, "off") {
		c.TopicRetention = 0
		return nil
	}
	if err := duration(func(c *Config) *time.Duration { return &c.TopicRetention }, "1m", "876000h")(c, "", value); err != nil {
		return fmt.Errorf("%w, and not off", err)
	}
	return nil
}

// parseConsumerID leaves room for what else names a consumer.
func parseConsumerID(c *Config, _, value string) error {
	if len(value) > 256 || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return errors.New("is not a name of up to 256 bytes without control characters")
	}
	c.ConsumerID = value
	return nil
}

func parseLogLevel(c *Config, _, value string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[strings.ToLower(value)]
	if !ok {
		return errors.New("is none of debug, info, warn, error")
	}
	c.LogLevel = level
	return nil
}

func parseSocketName(c *Config, _, value string) error {
	// The sidecar lowers the case of component types, and takes what follows the last dot of a file's name off it.
	if !socketName.MatchString(value) {
		return errors.New("is not a name of up to 41 lower-case letters, digits, - and _")
	}
	c.SocketName = value
	return nil
}

func parseSocketMode(c *Config, _, value string) error {
	n, err := strconv.ParseUint(value, 8, 32)
	if err != nil || n > 0o777 || n&0o600 != 0o600 {
		return errors.New("is not an octal file mode from 0600 to 0777 with which the owner can read and write")
	}
	c.SocketMode = fs.FileMode(n)
	return nil
}

func join[T ~string](all []T) string {
	var b strings.Builder
	for i, a := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(a))
	}
	return b.String()
}
