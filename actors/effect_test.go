package actors

import "testing"

func TestEffectID(t *testing.T) {
	t.Parallel()
	// It is stored, and compared with what an older version made.
	if got := EffectID(Ref{"bank", "a"}, "k:1", 1); got != "03R1ULD5TLTU1HF3OE5POCRBFG" {
		t.Errorf("got %s", got)
	}
	seen := map[string]bool{}
	for _, r := range []Ref{{"bank", "a"}, {"ban", "ka"}, {"banka", ""}} {
		for _, command := range []string{"k:1", "g:1", "1"} {
			for ordinal := range 3 {
				id := EffectID(r, command, ordinal)
				if seen[id] || len(id) != 26 {
					t.Errorf("%s %s %d: %s", r, command, ordinal, id)
				}
				seen[id] = true
			}
		}
	}
}
