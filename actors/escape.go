package actors

import "strings"

// Dapr takes an actor id as a part of a path: it refuses / \ # ? and control characters, and the ids "." and "..". An
// entity id may have them all but the control characters, so it travels escaped: those bytes, and the percent sign
// itself, as %XX with upper case digits. Nothing else is escaped, which leaves ordinary ids as they are.
//
// An entity id has exactly one escaped form. Were there two, Dapr would take them for two actors and might place them
// on two hosts, which would then fight over one journal.

const hexDigits = "0123456789ABCDEF"

func escaped(c byte) bool {
	switch c {
	case '/', '\\', '#', '?', '%', 0x7f:
		return true
	default:
		return c < 0x20
	}
}

// EscapeID is the actor id of the entity with that id.
func EscapeID(id string) string {
	if id == "." || id == ".." {
		return strings.Repeat("%2E", len(id))
	}
	n := 0
	for i := range len(id) {
		if escaped(id[i]) {
			n++
		}
	}
	if n == 0 {
		return id
	}
	b := make([]byte, 0, len(id)+2*n)
	for i := range len(id) {
		if c := id[i]; escaped(c) {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// UnescapeID is the inverse of EscapeID. What EscapeID does not return is an InvalidArgument that says how to write it.
func UnescapeID(actorID string) (string, error) {
	if strings.IndexByte(actorID, '%') < 0 && EscapeID(actorID) == actorID {
		return actorID, nil
	}
	b := make([]byte, 0, len(actorID))
	for i := 0; i < len(actorID); i++ {
		c := actorID[i]
		if c == '%' {
			if i+2 >= len(actorID) {
				return "", malformedID(actorID)
			}
			high, ok := unhex(actorID[i+1])
			low, ok2 := unhex(actorID[i+2])
			if !ok || !ok2 {
				return "", malformedID(actorID)
			}
			c = high<<4 | low
			i += 2
		}
		b = append(b, c)
	}
	id := string(b)
	if want := EscapeID(id); want != actorID {
		return "", Errorf(InvalidArgument,
			"the actor id %q is a second spelling of the entity id %q; write the actor id as %q", cut(actorID, 64),
			cut(id, 64), cut(want, 64))
	}
	return id, nil
}

func malformedID(actorID string) error {
	return Errorf(InvalidArgument,
		"the actor id %q has a percent sign without two hexadecimal digits after it; write a percent sign as %%25",
		cut(actorID, 64))
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	default:
		return 0, false
	}
}
