package node

import (
	"testing"

	"github.com/dapr-entities/entities/actors/journal"
	journalmemory "github.com/dapr-entities/entities/actors/journal/memory"
)

// What one group keeps another one does not see, though both use the same cells.
func TestGroups(t *testing.T) {
	t.Parallel()
	cells, ctx := journalmemory.Open(), t.Context()
	one, two := inGroup(cells, "one"), inGroup(cells, "two")
	results, err := one.PutEach(ctx, []journal.Cell{{Key: "ent/a", Value: []byte("1")}, {Key: "ent/b", Value: []byte("2")}})
	if err != nil || results[0].Err != nil || results[1].Err != nil {
		t.Fatal(results, err)
	}
	version, err := two.Put(ctx, journal.Cell{Key: "ent/a", Value: []byte("3")})
	if err != nil {
		t.Fatal(err)
	}
	for want, in := range map[string]journal.Cells{"1": one, "3": two} {
		if c, err := in.Cell(ctx, "ent/a"); err != nil || c.Key != "ent/a" || string(c.Value) != want {
			t.Errorf("%+v, %v, want %s", c, err, want)
		}
	}
	list, err := one.Cells(ctx, "ent/", "ent/a", 0)
	if err != nil || len(list) != 1 || list[0].Key != "ent/b" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := two.Remove(ctx, "ent/a", version); err != nil {
		t.Error(err)
	}
	if list, err := two.Cells(ctx, "", "", 0); err != nil || len(list) > 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if inGroup(cells, "") != journal.Cells(cells) {
		t.Error("without a group the cells are others")
	}
}
