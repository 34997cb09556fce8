package actors

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxIDBytes is the longest entity id, in bytes.
const MaxIDBytes = 256

// Ref names an entity: a service and an id within it.
type Ref struct {
	Service string
	ID      string
}

// String is for people: service/id.
func (r Ref) String() string { return r.Service + "/" + r.ID }

// Compare orders refs by service, then by id.
func (r Ref) Compare(o Ref) int {
	if c := strings.Compare(r.Service, o.Service); c != 0 {
		return c
	}
	return strings.Compare(r.ID, o.ID)
}

// ValidateID checks an entity id where it enters: 1 to MaxIDBytes bytes of UTF-8 without control characters. The error
// has the code InvalidArgument.
func ValidateID(id string) error {
	switch {
	case id == "":
		return Errorf(InvalidArgument, "the entity id is empty; give one of 1 to %d bytes", MaxIDBytes)
	case len(id) > MaxIDBytes:
		return Errorf(InvalidArgument, "the entity id %q… has %d bytes; at most %d are allowed", cut(id, 32), len(id), MaxIDBytes)
	case !utf8.ValidString(id):
		return Errorf(InvalidArgument, "the entity id %q is not valid UTF-8", cut(id, 64))
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return Errorf(InvalidArgument, "the entity id %q contains the control character %U", cut(id, 64), r)
		}
	}
	return nil
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
