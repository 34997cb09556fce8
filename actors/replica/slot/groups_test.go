package slot

import (
	"slices"
	"testing"

	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	if names, err := Groups(t.Context(), j); err != nil || len(names) != 0 {
		t.Errorf("of an empty journal: %q, %v", names, err)
	}
	for _, name := range []string{"shop", "cinema"} {
		if _, err := Rotate(t.Context(), j, name); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := Groups(t.Context(), j); err != nil || !slices.Equal(names, []string{"cinema", "shop"}) {
		t.Errorf("got %q, %v", names, err)
	}
}
