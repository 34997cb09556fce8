package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"3.51.3": true, "3.51.4": true, "3.52.0": true, "4.0.0": true, "3.54.1": true,
		"3.51.2": false, "3.50.9": false, "3.7.17": false, "2.99.99": false, "": false,
	} {
		if err := sqlite.CheckVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	if err := os.WriteFile(path("text"), []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := func(name, statement string) {
		db, err := sql.Open("sqlite", sqlite.DSN(path(name)))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	foreign("foreign", "CREATE TABLE t (x)")
	if err := openAt(t, path("newer")).Close(); err != nil {
		t.Fatal(err)
	}
	foreign("newer", "PRAGMA user_version = 99")
	if err := os.Symlink(path("used"), path("link")); err != nil {
		t.Fatal(err)
	}
	used := openAt(t, path("used"))
	t.Cleanup(func() { used.Close() })

	for _, test := range []struct{ path, want string }{
		{"", "Path is empty"},
		{":memory:", "use the memory journal"},
		{path("no/such/folder"), "does not exist; make it first"},
		{folder, "it is a folder"},
		{path("text"), "not a database"},
		{path("foreign"), "another application's database"},
		{path("newer"), "schema version 99, made by a newer release"},
		{path("used"), "has the file open"},
		{path("link"), "has the file open"},
	} {
		j, err := sqlite.Open(t.Context(), sqlite.Config{Path: test.path})
		if err == nil {
			j.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("open %q: %v, want an error that says %q", test.path, err, test.want)
		}
	}
	// An attempt leaves no lock behind, and the file is for its owner only.
	if err := used.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openAt(t, path("link")).Close(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path("used"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestCloseLetsGo: a journal that is closed is one file, with everything in it, for whoever copies it.
func TestCloseLetsGo(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for n := range int64(3) {
		j := openAt(t, filepath.Join(folder, "j"))
		if r := j.Append(t.Context(), []journal.Append{item("a", n, "x")}); r[0].Status != journal.Committed {
			t.Fatal(r[0])
		}
		if last, err := j.Last(t.Context(), []actors.Ref{item("a", 0, "").Ref}); err != nil || last[0].Sequence != n+1 {
			t.Fatal(last, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil || len(files) != 2 || files[1] != filepath.Join(folder, "j.lock") {
			t.Errorf("left are %q, %v", files, err)
		}
	}
}

// TestReadOnly opens a journal that cannot be written to, because of the file system or, where one cannot be mounted, of its
// permissions. It can be opened as soon as that is over.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "j")
	refuse, allow := func() error { return os.Chmod(path, 0o400) }, func() error { return os.Chmod(path, 0o600) }
	if os.Geteuid() == 0 { // whom permissions do not stop
		mount := func(args ...string) error {
			for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				out, err := exec.Command("mount", append(args, folder)...).CombinedOutput()
				// A program that another test starts has our files open for a moment.
				if err == nil || !strings.Contains(string(out), "busy") {
					return err
				}
				if time.Now().After(end) {
					return fmt.Errorf("%w: %s", err, out)
				}
			}
		}
		if err := mount("-t", "tmpfs", "tmpfs"); err != nil {
			t.Skipf("needs a file system of its own: %v", err)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("umount", folder).CombinedOutput(); err != nil {
				t.Errorf("%v %s", err, out)
			}
		})
		refuse, allow = func() error { return mount("-o", "remount,ro") }, func() error { return mount("-o", "remount,rw") }
	}
	made := filepath.Join(t.TempDir(), "j")
	j := openAt(t, made)
	if r := j.Append(t.Context(), []journal.Append{item("a", 0, "x")}); r[0].Status != journal.Committed {
		t.Fatal(r[0])
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(made)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := refuse(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err == nil || !strings.Contains(err.Error(), "give the user of this process the right to, or name another place") {
			t.Errorf("open what is read-only: %v", err)
		}
	}
	if err := allow(); err != nil {
		t.Fatal(err)
	}
	j = openAt(t, path)
	if last, err := j.Last(t.Context(), []actors.Ref{item("a", 0, "").Ref}); err != nil || last[0].Sequence != 1 {
		t.Errorf("%+v, %v", last, err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func item(id string, expected int64, data string) journal.Append {
	return journal.Append{
		Ref: actors.Ref{Service: "cart", ID: id}, Expected: expected, Command: fmt.Sprint("c", expected),
		Events: []journal.Event{{Name: "added", Payload: actors.Payload{TypeURL: "t", Data: []byte(data)}}},
	}
}

// TestFull fills the file. Appends are refused, what is there can be read, and small ones still fit.
func TestFull(t *testing.T) {
	t.Parallel()
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "j"), MaxBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	big := strings.Repeat("x", 32<<10)
	n := int64(0)
	for ; n < 20; n++ {
		r := j.Append(t.Context(), []journal.Append{item("a", n, big)})[0]
		if r.Status == journal.Refused && errors.Is(r.Err, journal.ErrFull) {
			break
		}
		if r.Status != journal.Committed {
			t.Fatalf("%+v", r)
		}
	}
	if n == 0 || n == 20 {
		t.Fatalf("%d appends of 32 KiB fit into 256 KiB", n)
	}
	count := int64(0)
	for _, err := range j.Read(t.Context(), actors.Ref{Service: "cart", ID: "a"}, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	if count != n {
		t.Errorf("%d events, %d were acknowledged", count, n)
	}
	if r := j.Append(t.Context(), []journal.Append{item("a", n, "small")})[0]; r.Status != journal.Committed {
		t.Errorf("small append: %+v", r)
	}
}

// trace runs a test of this program anew under strace, with its options and an entry of the environment.
func trace(t *testing.T, test, environment string, options ...string) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err) // .ci/install brings it
	}
	if err != nil {
		t.Skip(err)
	}
	options = append([]string{"-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace")}, options...)
	c := exec.Command(strace, append(options, os.Args[0], "-test.run=^"+test+"$", "-test.v")...)
	c.Env = append(os.Environ(), environment)
	out, err := c.CombinedOutput()
	if strings.Contains(string(out), "ptrace") || strings.Contains(string(out), "Operation not permitted") {
		t.Skipf("strace may not trace here: %s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestDiskIsFull: what a full disk does not take is refused whole, and taken when there is room again.
func TestDiskIsFull(t *testing.T) {
	if path := os.Getenv("JOURNAL_ON_A_FULL_DISK"); path != "" {
		onFullDisk(t, path)
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "j")
	out := trace(t, "TestDiskIsFull", "JOURNAL_ON_A_FULL_DISK="+path,
		"-P", path+"-wal", "-e", "trace=pwrite64,write", "-e", "inject=pwrite64,write:error=ENOSPC:when=500..540")
	if !strings.Contains(out, "was full, and is not any more") {
		t.Error(out)
	}
}

func onFullDisk(t *testing.T, path string) {
	runtime.LockOSThread() // strace counts the writes of each thread
	defer runtime.UnlockOSThread()
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	refused := 0
	at := int64(0)
	for n := range 200 {
		// Two streams, each of several pages: either all of it is there, or nothing.
		batch := []journal.Append{item("a", at, strings.Repeat("x", 10_000)), item("b", at, strings.Repeat("x", 10_000))}
		r := j.Transact(t.Context(), batch)
		switch {
		case r[0].Status == journal.Committed && r[1].Status == journal.Committed:
			at++
		case r[0].Status == journal.Refused && errors.Is(r[0].Err, journal.ErrFull) && errors.Is(r[1].Err, journal.ErrFull):
			refused++
		default:
			t.Fatalf("%d: %+v", n, r)
		}
		last, err := j.Last(t.Context(), []actors.Ref{batch[0].Ref, batch[1].Ref})
		if err != nil || last[0].Sequence != at || last[1].Sequence != at {
			t.Fatalf("%d: at %d and %d, want %d, %v", n, last[0].Sequence, last[1].Sequence, at, err)
		}
	}
	if refused == 0 || at < 100 {
		t.Fatalf("%d were refused, %d committed", refused, at)
	}
	fmt.Println("was full, and is not any more")
}

// TestDiskFails runs this test's program anew under strace, which makes an fsync fail.
func TestDiskFails(t *testing.T) {
	if path := os.Getenv("JOURNAL_ON_A_FAILING_DISK"); path != "" {
		onFailingDisk(t, path)
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "j")
	out := trace(t, "TestDiskFails", "JOURNAL_ON_A_FAILING_DISK="+path,
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=30+")
	_, count, broke := strings.Cut(out, "broke after")
	if !broke {
		t.Fatal(out)
	}
	// What was acknowledged is there, in order.
	j := openAt(t, path)
	defer j.Close()
	var acknowledged, found int64
	if _, err := fmt.Sscan(count, &acknowledged); err != nil {
		t.Fatal(err)
	}
	for _, err := range j.Read(t.Context(), actors.Ref{Service: "cart", ID: "a"}, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		found++
	}
	if acknowledged == 0 || found < acknowledged || found > acknowledged+1 {
		t.Errorf("%d events, %d were acknowledged", found, acknowledged)
	}
}

func onFailingDisk(t *testing.T, path string) {
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for n := range int64(1000) {
		r := j.Append(t.Context(), []journal.Append{item("a", n, "x")})[0]
		if r.Status == journal.Committed {
			continue
		}
		if r.Status != journal.Unknown || !errors.Is(r.Err, sqlite.ErrBroken) {
			t.Fatalf("%+v", r)
		}
		again := j.Append(t.Context(), []journal.Append{item("b", 0, "x")})[0]
		if again.Status != journal.Refused || !errors.Is(again.Err, sqlite.ErrBroken) {
			t.Errorf("after that: %+v", again)
		}
		_, err := j.Load(t.Context(), actors.Ref{Service: "cart", ID: "a"})
		if !errors.Is(err, sqlite.ErrBroken) || !errors.Is(j.Ping(t.Context()), sqlite.ErrBroken) {
			t.Errorf("after that: %v", err)
		}
		fmt.Printf("broke after %d appends\n", n)
		return
	}
	t.Fatal("the disk did not fail")
}
