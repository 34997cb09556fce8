package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Scope is where a setting may be given. Scopes add up.
type Scope uint8

const (
	// State is the metadata of state.entities, the host.
	State Scope = 1 << iota
	// Binding is the metadata of bindings.entities.
	Binding
	// Process is the command line: every setting that is not Dapr's own, and some that are nowhere else, because they
	// are needed before the sidecar says anything.
	Process
)

func (s Scope) String() string {
	switch s {
	case State:
		return "state.entities"
	case Binding:
		return "bindings.entities"
	default:
		return "the command line"
	}
}

// Setting documents one setting.
type Setting struct {
	// Name in metadata and as a flag. If it ends in a dot it is a prefix, and what follows it is part of the setting.
	Name string
	// Rest names what follows a prefix, for people.
	Rest string
	// Default as it would be written; empty if nothing is set.
	Default string
	// Type is one of the types of Dapr's component metadata schema: string, number, bool, duration, bytesize.
	Type    string
	Meaning string
	Example string
	// Allowed lists the only values, if there are few.
	Allowed []string
	// Sensitive values may hold a password.
	Sensitive bool
	// Dapr's own settings are read by the sidecar. They are accepted here, and those without parse not even looked at.
	Dapr  bool
	Scope Scope

	// parse takes a value, and what follows the prefix. Its error follows the name and, if it is not sensitive, the value.
	parse func(c *Config, suffix, value string) error
}

// Prefix reports whether the setting's name is only the beginning.
func (s *Setting) Prefix() bool { return strings.HasSuffix(s.Name, ".") }

// shown is the name for people.
func (s *Setting) shown() string {
	if s.Prefix() {
		return s.Name + "<" + s.Rest + ">"
	}
	return s.Name
}

// Settings returns the settings that may be given in a scope, in the order of their documentation.
func Settings(scope Scope) []Setting {
	var all []Setting
	for _, s := range settings {
		if s.Scope&scope != 0 {
			all = append(all, s)
		}
	}
	return all
}

// find returns the setting that a key names, and what follows its prefix. Case matters in what follows only.
func find(key string) (*Setting, string) {
	for i := range settings {
		s := &settings[i]
		if s.Prefix() {
			if len(key) > len(s.Name) && strings.EqualFold(key[:len(s.Name)], s.Name) {
				return s, key[len(s.Name):]
			}
		} else if strings.EqualFold(key, s.Name) {
			return s, ""
		}
	}
	return nil, ""
}

// unknown is the error for a key that is no setting of the scope.
func unknown(key string, scope Scope) error {
	var names []string
	for _, s := range Settings(scope) {
		names = append(names, s.shown())
	}
	slices.Sort(names)
	hint := ""
	if near := Nearest(key, names); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return fmt.Errorf("%s has no setting %q%s (known: %s)", scope, cut(key), hint, strings.Join(names, ", "))
}

// Nearest returns the name that key was probably meant to be, or "". Case does not count.
func Nearest(key string, names []string) string {
	key = strings.ToLower(cut(key))
	best, least := "", max(1, len(key)/3)+1
	for _, n := range names {
		if d := distance(key, strings.ToLower(n)); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the number of letters to put in, take out or change to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// cut bounds what an error quotes of a value.
func cut(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
