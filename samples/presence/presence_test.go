package presence

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

var (
	ada = Person{"Ada"}
	bob = Person{"Bob"}
)

// last is what somebody was told last.
func last(t *testing.T, w *sdktest.Watching[View]) View {
	t.Helper()
	replies := w.Replies()
	if len(replies) == 0 {
		t.Fatal("nothing was told")
	}
	return replies[len(replies)-1]
}

func TestRoom(t *testing.T) {
	t.Parallel()
	c := sdktest.Cluster(t, Rooms, "tea", 3)
	phone := sdktest.Watch(c.Node(0), Join, Visit{"Ada", "phone"})
	laptop := sdktest.Watch(c.Node(1), Join, Visit{"Ada", "laptop"})
	home := sdktest.Watch(c.Node(2), Join, Visit{"Bob", "home"})
	sdktest.Do(c.Node(2), Post, bob)
	if d := cmp.Diff(View{Online: []string{"Ada", "Bob"}, Unread: 1}, last(t, phone)); d != "" {
		t.Error(d)
	}
	if got := last(t, home); got.Unread != 0 {
		t.Errorf("who says something has to read it: %+v", got)
	}
	phone.Cancel()
	if got := last(t, home); len(got.Online) != 2 || len(got.Seen) != 0 {
		t.Errorf("who has gone with one of two devices is away: %+v", got)
	}
	laptop.Cancel()
	got := last(t, home)
	if d := cmp.Diff([]string{"Bob"}, got.Online); d != "" || time.Since(got.Seen["Ada"]) > time.Minute {
		t.Error(d, got.Seen)
	}
	c.Converge()
}

// Both sides of a partition go on, and nothing is lost.
func TestPartition(t *testing.T) {
	t.Parallel()
	c := sdktest.Cluster(t, Rooms, "tea", 3)
	a := sdktest.Watch(c.Node(0), Join, Visit{"Ada", "phone"})
	b := sdktest.Watch(c.Node(2), Join, Visit{"Bob", "home"})
	sdktest.Do(c.Node(0), Post, bob)
	c.Partition(2)
	sdktest.Do(c.Node(0), Read, ada)
	sdktest.Do(c.Node(2), Post, bob)
	sdktest.Do(c.Node(2), Post, bob)
	eve := sdktest.Watch(c.Node(1), Join, Visit{"Eve", "home"})
	b.Cancel()
	if got := last(t, a); got.Unread != 0 || len(got.Online) != 3 {
		t.Errorf("Ada sees %+v", got)
	}
	c.Heal()
	c.Converge()
	if got := last(t, a); got.Unread != 2 || !cmp.Equal(got.Online, []string{"Ada", "Eve"}) {
		t.Errorf("then Ada sees %+v", got)
	}
	if got := last(t, eve); got.Unread != 0 { // who came when the others could not know it
		t.Errorf("Eve sees %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, Rooms, "tea")
	if got := sdktest.Do(h, Read, ada); sdk.CodeOf(got.Err) != sdk.CodeNotFound || len(got.Events) != 0 {
		t.Errorf("%+v", got)
	}
	if got := sdktest.Watch(h, Join, Visit{}).Take(); sdk.CodeOf(got[0].Err) != sdk.CodeInvalidArgument {
		t.Errorf("%+v", got)
	}
	if d := cmp.Diff(View{Online: []string{}}, sdktest.Do(h, Look, ada).Reply); d != "" {
		t.Error(d)
	}
}

// A visit whose node has crashed is ended by hand.
func TestLeave(t *testing.T) {
	t.Parallel()
	c := sdktest.Cluster(t, Rooms, "tea", 2)
	sdktest.Watch(c.Node(0), Join, Visit{"Ada", "phone"})
	c.Node(0).Reopen()
	sdktest.Do(c.Node(1), Leave, Visit{"Ada", "phone"})
	if got := sdktest.Do(c.Node(0), Look, bob).Reply; len(got.Online) != 0 || len(got.Seen) != 1 {
		t.Errorf("%+v", got)
	}
}
