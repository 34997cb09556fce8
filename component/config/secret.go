package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Secret is a text that does not show itself: not through fmt with any verb, not in JSON, not in a log. Reveal gives it.
// It protects exported fields only, because fmt does not call the methods of unexported ones.
type Secret string

const hidden = "[secret]"

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String is "" for the empty secret, else a placeholder.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format prints String whatever the verb: %d of a string would print it.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		fmt.Fprintf(f, "%q", s.String())
		return
	}
	fmt.Fprint(f, s.String())
}

// MarshalJSON writes String.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText writes String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue logs String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
