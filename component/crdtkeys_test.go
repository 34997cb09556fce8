package component

import "testing"

// Replicated keys need no user function, can be written from the first moment on, and outlive the process.
func TestReplicatedKeys(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	settings := map[string]string{"journal": "sqlite:" + dir + "/entities.db", "host": "false", "crdt.count-": "gcounter"}
	p := begin(t, dir, nil)
	p.mustInit(settings)
	for range 3 {
		if err := p.set("app||count-a", `{"increment":2}`); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.set("app||plain", `{"increment":2}`); err != nil {
		t.Fatal(err)
	}
	// Another Init replaces the host; what it had is there.
	settings["crdt.tags-"] = "gset"
	p.mustInit(settings)
	if err := p.set("app||tags-a", `{"add":["x"]}`); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for key, want := range map[string]string{"count-a": "6", "tags-a": `["x"]`, "plain": `{"increment":2}`, "count-b": ""} {
			if got, err := p.get("app||" + key); got != want || err != nil {
				t.Errorf("%s is %q, %v; want %s", key, got, err, want)
			}
		}
	}
	check()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p = begin(t, dir, nil)
	settings["host"] = "auto"
	p.mustInit(settings)
	check()
	eventually(t, "it is ready", func() bool { return p.ready() == "" })
}
