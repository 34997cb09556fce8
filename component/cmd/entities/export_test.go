package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

// open a journal by its setting.
func open(t *testing.T, setting string) journal.Journal {
	t.Helper()
	if path, ok := strings.CutPrefix(setting, "sqlite:"); ok {
		j, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j, err := postgres.Open(context.Background(), postgres.Config{URL: setting})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// busy fills a journal with as many events over a hundred entities.
func busy(t *testing.T, setting string, events int) {
	t.Helper()
	j := open(t, setting)
	defer j.Close()
	const entities, each = 100, 10
	for n := 0; n < events; n += entities * each {
		var batch []journal.Append
		for e := range entities {
			a := journal.Append{Ref: actors.Ref{Service: "shop.v1.Cart", ID: fmt.Sprint("cart-", e)}, Expected: int64(n / entities), Command: fmt.Sprint(n)}
			for i := range each {
				a.Events = append(a.Events, journal.Event{Name: "added", Payload: actors.Payload{
					TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: fmt.Appendf(nil, `{"n":%d,"of":%q}`, n+i, strings.Repeat("x", 200)),
				}})
			}
			a.Record = &journal.Record{Outcome: []byte("done")}
			batch = append(batch, a)
		}
		for _, r := range j.Append(t.Context(), batch) {
			if r.Status != journal.Committed {
				t.Fatal(r.Status, r.Err)
			}
		}
	}
}

// history is the checksum of all that a journal has of its entities.
func history(t *testing.T, setting string) string {
	t.Helper()
	j := open(t, setting)
	defer j.Close()
	sum := sha256.New()
	services, err := j.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range services {
		list, err := j.List(t.Context(), service, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			ref := actors.Ref{Service: service, ID: s.ID}
			span, err := j.Span(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(sum, "%v %+v\n", ref, span)
			for e, err := range j.Read(t.Context(), ref, span.Floor, 0) {
				if err != nil {
					t.Fatal(err)
				}
				e.Position = journal.Position{}
				fmt.Fprintf(sum, "%+v\n", e)
			}
			records, err := j.Records(t.Context(), ref, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(sum, "%+v\n", records)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// killed runs the program until ready says so, and then kills it. It reports whether it was in the middle.
func killed(t *testing.T, ready func() bool, args ...string) bool {
	t.Helper()
	p := entities(t, args...)
	for {
		select {
		case <-p.ended:
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Fatalf("exit code %d: %s", code, p.text())
			}
			return false
		case <-time.After(time.Millisecond):
			if ready() {
				p.cmd.Process.Kill()
				<-p.ended
				return true
			}
		}
	}
}

// succeeds runs the program to its end, however long it takes.
func succeeds(t *testing.T, args ...string) *process {
	t.Helper()
	p := entities(t, args...)
	<-p.ended
	p.exits(0)
	return p
}

// Export, wipe, import, with both sides killed in the middle: the histories are the same, byte for byte.
func TestExportWipeImport(t *testing.T) {
	t.Parallel()
	create := map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(shortDir(t), "e.db") },
		"postgres": func(t *testing.T) string { return postgrestest.URL(t) },
	}
	for name, setting := range create {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const events = 10_000
			source := setting(t)
			busy(t, source, events)
			file := filepath.Join(shortDir(t), "export")
			size := func() int64 {
				info, err := os.Stat(file)
				if err != nil {
					return 0
				}
				return info.Size()
			}
			kills := 0
			for at := int64(1); at < 4 && killed(t, func() bool { return size() > at*(600<<10) }, "journal", "export", "--journal", source, file); at++ {
				kills++
			}
			p := succeeds(t, "journal", "export", "--journal", source, file)
			p.says(fmt.Sprintf("exported %d events of 100 entities, %d records", events, events/10))
			target := setting(t) // which is what a wiped journal is
			had := func(n int64) func() bool {
				return func() bool { return sizeOf(t, target) > n }
			}
			for at := int64(1); at < 4 && killed(t, had(at<<19), "journal", "import", "--journal", target, file); at++ {
				kills++
			}
			t.Logf("killed %d times in the middle", kills)
			succeeds(t, "journal", "import", "--journal", target, file).says("imported ")
			if want, got := history(t, source), history(t, target); want != got {
				t.Errorf("the histories differ: %s, %s", want, got)
			}
			succeeds(t, "journal", "import", "--journal", target, file).says("had been imported already: 10000 events")
			succeeds(t, "journal", "export", "--journal", source, file).says("is complete already")
		})
	}
}

// sizeOf is how much a journal has, about.
func sizeOf(t *testing.T, setting string) int64 {
	t.Helper()
	if path, ok := strings.CutPrefix(setting, "sqlite:"); ok {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			return 0
		}
		return info.Size()
	}
	j := open(t, setting)
	defer j.Close()
	list, err := j.List(t.Context(), "shop.v1.Cart", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, s := range list {
		n += s.Sequence
	}
	return n * 200
}

func TestMove(t *testing.T) {
	t.Parallel()
	source := "sqlite:" + filepath.Join(shortDir(t), "e.db")
	busy(t, source, 1000)
	target := postgrestest.URL(t)
	j := open(t, source)
	p := entities(t, "journal", "move", "--journal", source, "--to", target)
	<-p.ended
	p.exits(1)
	p.says("has the file open")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		succeeds(t, "journal", "move", "--journal", source, "--to", target).says("moved 1000 events of 100 entities")
	}
	if want, got := history(t, source), history(t, target); want != got {
		t.Errorf("the histories differ: %s, %s", want, got)
	}
	// Whoever writes to it has it open.
	j = open(t, target)
	if _, err := j.Put(t.Context(), journal.Cell{Key: "odd/1"}); err != nil {
		t.Fatal(err)
	}
	p = entities(t, "journal", "move", "--journal", target, "--to", "sqlite:"+filepath.Join(shortDir(t), "none.db"))
	<-p.ended
	p.exits(1)
	p.says("it is in use by entities at ")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	back := "sqlite:" + filepath.Join(shortDir(t), "back.db")
	p = entitiesWith(t, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "ENTITIES_JOURNAL="+target, "ENTITIES_JOURNAL_TO="+back)
	}, "journal", "move", "-o", "json")
	<-p.ended
	p.exits(0)
	p.says(`"counts":{"cut":1,"event":1000,`)
	if want, got := history(t, source), history(t, back); want != got {
		t.Errorf("the histories differ: %s, %s", want, got)
	}
	// It goes on where the source has.
	j = open(t, source)
	if r := j.Append(t.Context(), []journal.Append{{Ref: actors.Ref{Service: "new", ID: "x"}, Command: "c", Events: []journal.Event{{Name: "n"}}}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	succeeds(t, "journal", "move", "--journal", source, "--to", target).says("moved 1001 events of 101 entities")
}

// What goes wrong is said with what to do about it, and has its exit code.
func TestExportRefuses(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	source, empty := "sqlite:"+filepath.Join(folder, "e.db"), "sqlite:"+filepath.Join(folder, "empty.db")
	busy(t, source, 1000)
	file := filepath.Join(folder, "export")
	succeeds(t, "journal", "export", "--journal", source, file)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flipped := write("flipped", []byte(strings.Replace(string(whole), `xxx`, `xyx`, 1)))
	torn := write("torn", whole[:len(whole)/2])
	other := write("other", []byte("a text\n"))
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"export", "--journal", source, "/dev/full"}, 1, "no space left on device"},
		{[]string{"export", "--journal", source, other}, 4, "it is no export of a journal"},
		{[]string{"export", "--journal", source, flipped}, 4, "the export is damaged at line 2 (byte "},
		{[]string{"export", "--journal", source, folder + "/none/x"}, 1, "no such file or directory"},
		{[]string{"export", "--journal", source}, 1, "takes <file>, and 0 arguments are given"},
		{[]string{"import", "--journal", empty, flipped}, 4, "the export is damaged at line 2 (byte "},
		{[]string{"import", "--journal", empty, other}, 4, "it is no export of a journal"},
		{[]string{"import", "--dry-run", torn}, 4, "let the export finish, by the command that began it"},
		{[]string{"import", "--dry-run", file}, 0, "checked 1000 events of 100 entities"},
		{[]string{"import", "--journal", empty, folder + "/none"}, 1, "no such file or directory"},
		{[]string{"import", "--journal", source, file}, 5, "it is the journal that was exported"},
		{[]string{"move", "--journal", source}, 1, "give --to, or set ENTITIES_JOURNAL_TO"},
		{[]string{"move", "--component", "--to", empty}, 1, "stop it, and give the journal itself by --journal"},
		{[]string{"erase", "--journal", source, "shop.v1.Cart", "cart-1"}, 1, "say --yes if it is meant"},
		{[]string{"erase", "--journal", source, "shop.v1.Cart", "none", "--yes"}, 3, "the journal has no shop.v1.Cart/none"},
		{[]string{"erase", "--journal", source, "shop.v1.Cart", "cart-1", "--yes"}, 0, "What is left is its head: version 10, epoch 1. Its next event will be 11."},
		{[]string{"state", "--journal", source, "shop.v1.Cart", "cart-1"}, 0, "erased: nothing of it is left but the version"},
		{[]string{"erase", "--journal", source, "shop.v1.Cart", "cart-2", "--yes", "-o", "json"}, 0, `{"service":"shop.v1.Cart","id":"cart-2","sequence":10,"epoch":1}`},
		{[]string{"services", "--component=127.0.0.1:1"}, 1, "is it running, and is that its adminAddress?"},
		{[]string{"services", "--component=nowhere"}, 1, "write host:port"},
	} {
		p := entities(t, append([]string{"journal"}, test.args...)...)
		<-p.ended
		p.exits(test.code)
		p.says(test.want)
	}
	// The file that was torn is gone on with, by the command that began it.
	if err := os.WriteFile(file, whole[:len(whole)/3], 0o600); err != nil {
		t.Fatal(err)
	}
	succeeds(t, "journal", "export", "--journal", source, file).says(" of 100 entities, 98 records")
	// What was erased after it had been written is erased by the import, too.
	p := succeeds(t, "journal", "import", "--journal", empty, file)
	p.says("imported ")
	succeeds(t, "journal", "state", "--journal", empty, "shop.v1.Cart", "cart-1").says("erased: nothing")
	if want, got := history(t, source), history(t, empty); want != got {
		t.Errorf("the histories differ: %s, %s", want, got)
	}
}

// A full disk is said so, and what was written is gone on with when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder).CombinedOutput(); err != nil {
		t.Skipf("needs a small file system: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", folder).CombinedOutput(); err != nil {
			t.Errorf("%v %s", err, out)
		}
	})
	source := "sqlite:" + filepath.Join(shortDir(t), "e.db")
	busy(t, source, 3000)
	file := filepath.Join(folder, "export")
	p := entities(t, "journal", "export", "--journal", source, file)
	<-p.ended
	p.exits(1)
	p.says("no space left on device; the same command goes on with ")
	info, err := os.Stat(file)
	if err != nil || info.Size() < 100<<10 {
		t.Fatal(info, err)
	}
	export := filepath.Join(shortDir(t), "export")
	if err := os.Rename(file, export); err != nil {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(export, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(file)
	}
	succeeds(t, "journal", "export", "--journal", source, export)
	p = entities(t, "journal", "import", "--journal", "sqlite:"+filepath.Join(folder, "e.db"), export)
	<-p.ended
	p.exits(1)
	p.says("make room, and import it again")
}

// A component that has a journal open is asked, and a memory journal has no other way.
func TestThroughComponent(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	setting := "sqlite:" + filepath.Join(folder, "e.db")
	busy(t, setting, 1000)
	serve := func(setting string, more ...string) string {
		p := entities(t, append([]string{"serve", "--journal", setting, "--host", "false", "--adminAddress", "127.0.0.1:0", "--socketFolder", shortDir(t)}, more...)...)
		p.says("serving health and metrics")
		p.says("msg=started")
		_, rest, _ := strings.Cut(p.text(), "serving health and metrics\" address=")
		return strings.Fields(rest)[0]
	}
	from, to := serve(setting), serve("memory:")
	file := filepath.Join(folder, "export")
	succeeds(t, "journal", "services", "--component="+from).says("shop.v1.Cart  -")
	succeeds(t, "journal", "history", "--component="+from, "shop.v1.Cart", "cart-7", "--limit", "2").says(`{"n":1,"of":"xxx`)
	p := entities(t, "journal", "history", "--journal", setting, "shop.v1.Cart", "cart-7")
	p.exits(1)
	p.says("if a component has it open, ask that: --component")
	succeeds(t, "journal", "export", "--component="+from, file).says("exported 1000 events")
	p = entitiesWith(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "ENTITIES_COMPONENT="+to) }, "journal", "import", file)
	<-p.ended
	p.exits(0)
	p.says("imported 1000 events of 100 entities")
	again := filepath.Join(folder, "again")
	succeeds(t, "journal", "export", "--component="+to, again).says("exported 1000 events")
	follow := entities(t, "journal", "tail", "--component="+to, "-f", "--from", "now", "--interval", "10ms")
	tail := entities(t, "journal", "tail", "--component="+to, "-f", "--id", "cart-9", "-o", "json")
	tail.says(`"id":"cart-9","sequence":10,`)
	tail.signal(syscall.SIGINT)
	tail.exits(0)
	follow.signal(syscall.SIGINT)
	follow.exits(0)
	succeeds(t, "journal", "erase", "--component="+to, "shop.v1.Cart", "cart-9", "-y").says("version 10")
	off := serve("memory:", "--operations", "off")
	p = entities(t, "journal", "services", "--component="+off)
	p.exits(1)
	p.says("404")
}
