package actors

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEscapeID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, want string }{
		{"", ""},
		{"cart-1", "cart-1"},
		{"a/b", "a%2Fb"},
		{`a\b#c?d%e`, "a%5Cb%23c%3Fd%25e"},
		{".", "%2E"},
		{"..", "%2E%2E"},
		{"...", "..."},
		{"../x", "..%2Fx"},
		{"a||b", "a||b"},
		{"two words", "two words"},
		{"tea 🍵", "tea 🍵"},
		{"tab\tdel\x7f", "tab%09del%7F"},
		{"%2F", "%252F"},
	} {
		if got := EscapeID(c.id); got != c.want {
			t.Errorf("EscapeID(%q) = %q, want %q", c.id, got, c.want)
		}
		if got, err := UnescapeID(c.want); err != nil || got != c.id {
			t.Errorf("UnescapeID(%q) = %q, %v, want %q", c.want, got, err, c.id)
		}
	}
}

func TestUnescapeIDRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ actorID, text string }{
		{"100%", "write a percent sign as %25"},
		{"%2", "write a percent sign as %25"},
		{"%zz", "write a percent sign as %25"},
		{"a%2fb", `write the actor id as "a%2Fb"`},
		{"a%20b", `write the actor id as "a b"`},
		{"..", `write the actor id as "%2E%2E"`},
		{"a/b", `write the actor id as "a%2Fb"`},
		{"%41", `write the actor id as "A"`},
		{"%2E%2E%2E", `write the actor id as "..."`},
	} {
		_, err := UnescapeID(c.actorID)
		if CodeOf(err) != InvalidArgument || !strings.Contains(err.Error(), c.text) {
			t.Errorf("UnescapeID(%q) = %v, want an InvalidArgument with %q", c.actorID, err, c.text)
		}
	}
}

func TestEscapeIDIsInjective(t *testing.T) {
	t.Parallel()
	id := rapid.StringOf(rapid.RuneFrom([]rune(`./\#?%25FEab|` + "\x00\t\x7fé🍵")))
	rapid.Check(t, func(t *rapid.T) {
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		if (a == b) != (EscapeID(a) == EscapeID(b)) {
			t.Fatalf("%q and %q both become %q", a, b, EscapeID(a))
		}
	})
}

// Every actor id has at most one entity id, every entity id exactly one actor id, and Dapr takes it.
func FuzzUnescapeID(f *testing.F) {
	for _, s := range []string{"cart-1", "a%2Fb", "%", "%2", "%2f", ".", "..", "%2E%2E", "a%20b", "\xff%FF", "%C3%A9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := UnescapeID(s); err == nil && EscapeID(id) != s {
			t.Fatalf("UnescapeID(%q) = %q, which is escaped as %q", s, id, EscapeID(id))
		}
		esc := EscapeID(s)
		if id, err := UnescapeID(esc); err != nil || id != s {
			t.Fatalf("UnescapeID(EscapeID(%q)) = %q, %v", s, id, err)
		}
		if strings.ContainsAny(esc, "/\\#?\x00") || esc == "." || esc == ".." {
			t.Fatalf("Dapr refuses %q", esc)
		}
		for i := range len(esc) {
			if esc[i] < 0x20 || esc[i] == 0x7f {
				t.Fatalf("Dapr refuses %q", esc)
			}
		}
	})
}
