package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell runs a script beside the component.
func shell(t *testing.T, script string, flags ...string) *process {
	t.Helper()
	args := append([]string{"run", "--adminAddress", "off"}, flags...)
	return entities(t, append(args, "--", "sh", "-c", script)...)
}

// wait is the end of a script that waits for signals. A shell handles them only between two commands.
const wait = `; echo "pid $$"; while :; do sleep 0.05; done`

func TestRunExitCode(t *testing.T) {
	t.Parallel()
	for script, code := range map[string]int{
		"exit 0":         0,
		"exit 3":         3,
		"exit 255":       255,
		"kill -KILL $$":  128 + 9,
		"kill -TERM $$":  128 + 15,
		"no-such-thing":  127,
		"sleep 0.2":      0,
		"echo x >&2; sh": 0, // reads from nothing, so it ends
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			p := shell(t, script)
			p.exits(code)
			p.clean()
			if strings.Contains(p.text(), "entities: ") {
				t.Errorf("the command's exit code is not an error of ours: %s", p.text())
			}
		})
	}
}

// The command finds the socket there, in a folder of this run alone.
func TestRunServesBeforeTheCommand(t *testing.T) {
	t.Parallel()
	const script = `cd /; for f in "$DAPR_COMPONENTS_SOCKETS_FOLDER" "$DAPR_COMPONENT_SOCKETS_FOLDER"; do
		echo "folder $f"; test -S "$f/entities.sock" || exit 1; test "$(ls "$f" | wc -l)" = 1 || exit 2; done`
	p := shell(t, script)
	p.exits(0)
	folder := p.line("folder ")
	if filepath.Dir(folder) != p.folder {
		t.Errorf("the socket is in %s, want a new folder in %s", folder, p.folder)
	}
	p.clean()

	// A folder that is given is used, and stays. The command may run elsewhere, so its path is absolute.
	p = shell(t, script, "--socketFolder", "mine")
	p.exits(0)
	if folder := p.line("folder "); folder != filepath.Join(p.folder, "mine") {
		t.Errorf("the socket is in %s", folder)
	}
	inherited := shortDir(t)
	p = entitiesWith(t, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "DAPR_COMPONENTS_SOCKETS_FOLDER="+inherited)
	}, "run", "--adminAddress", "off", "sh", "-c", script) // -- may be left out
	p.exits(0)
	if folder := p.line("folder "); folder != inherited {
		t.Errorf("the socket is in %s", folder)
	}
	if _, err := os.Stat(inherited); err != nil {
		t.Errorf("a folder that was given is gone: %v", err)
	}
}

func TestRunPassesInput(t *testing.T) {
	t.Parallel()
	p := entitiesWith(t, func(cmd *exec.Cmd) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		w.WriteString("hello\n")
		w.Close()
		cmd.Stdin = r
	}, "run", "--adminAddress", "off", "--", "sed", "s/^/got /")
	p.exits(0)
	p.says("got hello")
}

func TestRunPassesSignals(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			number := strconv.Itoa(int(s))
			p := shell(t, `trap 'test -S "$DAPR_COMPONENTS_SOCKETS_FOLDER/entities.sock" && exit 5' `+number+wait)
			p.says("pid ")
			p.signal(s)
			p.exits(5) // so the component still served when the signal arrived
			p.clean()
		})
	}
}

// A command that does not heed is killed: when its time is up, or when the user has had enough.
func TestRunKills(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flags   []string
		signals []syscall.Signal
	}{
		"in the end":    {[]string{"--drainTimeout", "100ms", "--gracePeriod", "400ms"}, []syscall.Signal{syscall.SIGTERM}},
		"when insisted": {nil, []syscall.Signal{syscall.SIGINT, syscall.SIGINT}},
		"in any order":  {nil, []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := shell(t, `trap '' INT TERM; sleep 1000 & echo "pid $!"`+wait, test.flags...)
			child := p.line("pid ")
			p.says("pid ")
			for i, s := range test.signals {
				p.signal(s)
				if i == 0 {
					p.says("passing a signal on")
				}
			}
			p.exits(128 + 9)
			p.clean()
			pid, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			gone(t, pid)
		})
	}
}

// Neither SIGTERM twice nor SIGHUP after it kills: supervisors send them in rows.
func TestRunIsPatientWithSupervisors(t *testing.T) {
	t.Parallel()
	p := shell(t, `trap '' HUP; trap 'sleep 0.5; exit 6' TERM`+wait)
	p.says("pid ")
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGTERM} {
		p.signal(s)
	}
	p.exits(6)
}

// What the command leaves behind is ended, politely first.
func TestRunEndsWhatIsLeft(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"polite":    `sh -c 'trap "echo bye; exit" TERM` + wait + `' & sleep 0.2; exit 4`,
		"impolite":  `sh -c 'trap "" TERM` + wait + `' & sleep 0.2; exit 4`,
		"deep":      `sh -c 'sh -c "echo pid \$\$; sleep 1000; echo never" & sleep 1000' & sleep 0.2; exit 4`,
		"by a kill": `sh -c 'echo pid $$; sleep 1000; echo never' & sleep 0.2; kill -KILL $$`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := shell(t, script)
			pid, err := strconv.Atoi(p.line("pid "))
			if err != nil {
				t.Fatal(err)
			}
			if name == "by a kill" {
				p.exits(128 + 9)
			} else {
				p.exits(4)
			}
			if syscall.Kill(pid, 0) == nil && !zombie(pid) {
				t.Errorf("process %d outlives entities run", pid)
			}
			if name == "polite" {
				p.says("bye")
			}
		})
	}
}

// Killed itself, it has no say any more; on Linux the kernel tells the command.
func TestRunKilled(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	p := shell(t, `trap 'exit' TERM`+wait)
	pid, err := strconv.Atoi(p.line("pid "))
	if err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGKILL)
	gone(t, pid)
}

// A component that fails takes the command along, and the reason is what the user sees. This one waits for a database
// that hangs up.
func TestRunStopsTheCommandWhenTheComponentFails(t *testing.T) {
	t.Parallel()
	database, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	p := shell(t, `trap 'echo told to end; exit 0' TERM`+wait, "--journal", "postgres://u:secret@"+database.Addr().String()+"/d?sslmode=disable")
	p.says("pid ")
	go func() { // ends with the listener
		for {
			conn, err := database.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	p.says("told to end")
	p.exits(1)
	p.says("entities: ")
	if strings.Contains(p.text(), "secret") {
		t.Error("the password is shown")
	}
	p.clean()
}

// A signal before the command runs leaves nothing behind either.
func TestRunStopsBeforeTheCommand(t *testing.T) {
	t.Parallel()
	for delay := range 8 {
		p := shell(t, "trap 'exit 130' INT; sleep 0.1"+wait)
		time.Sleep(time.Duration(delay) * 10 * time.Millisecond)
		p.signal(syscall.SIGINT)
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end")
		}
		p.clean()
	}
}
