package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong is said in one line on standard error, and nothing is left behind.
func TestRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"command":             {[]string{"sreve"}, 1, `unknown command "sreve"`},
		"argument":            {[]string{"serve", "x"}, 1, `unknown command "x" for "entities serve"`},
		"flag":                {[]string{"serve", "--jurnal=memory:"}, 1, "unknown flag: --jurnal; did you mean --journal?"},
		"flag of run":         {[]string{"run", "--zzzzzz", "--", "true"}, 1, "unknown flag: --zzzzzz (entities run --help lists the flags)"},
		"journal":             {[]string{"serve", "--journal", "redis:x"}, 1, "use sqlite:<file>, memory:, postgres://"},
		"journal of run":      {[]string{"run", "--journal", "redis:x", "--", "true"}, 1, "use sqlite:<file>, memory:, postgres://"},
		"all that is wrong":   {[]string{"serve", "--reads", "often", "--maxQueue", "0"}, 1, "maxQueue"},
		"folder of a journal": {[]string{"serve", "--adminAddress", "off", "--journal", "sqlite:none/e.db"}, 1, "does not exist; make it first"},
		"long path":           {[]string{"serve", "--adminAddress", "off", "--socketFolder", strings.Repeat("long/", 30)}, 1, "choose a shorter socketFolder"},
		"admin address":       {[]string{"serve", "--adminAddress", taken.Addr().String()}, 1, "address already in use"},
		"admin address, run":  {[]string{"run", "--adminAddress", taken.Addr().String(), "--", "sleep", "100"}, 1, "address already in use"},
		"no command":          {[]string{"run"}, 1, "there is no command to run; write it after --"},
		"unknown program":     {[]string{"run", "--", "no-such-program"}, 127, "run no-such-program: there is no such command"},
		"unknown path":        {[]string{"run", "--", "./no-such-program"}, 127, "run ./no-such-program: there is no such command"},
		"no program":          {[]string{"run", "--", plain}, 126, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := entitiesWith(t, func(cmd *exec.Cmd) {
				if test.args[0] == "serve" {
					cmd.Env = append(cmd.Env, "DAPR_COMPONENTS_SOCKETS_FOLDER="+filepath.Join(cmd.Dir, "s"))
				}
			}, test.args...)
			p.exits(test.code)
			p.says(test.want)
			if !strings.Contains("\n"+p.text(), "\nentities: ") {
				t.Errorf("nobody says who speaks: %q", p.text())
			}
			p.clean()
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"version"}, []string{"entities version " + version()}},
		{[]string{"--version"}, []string{"entities version " + version()}},
		{[]string{}, []string{"replication ", "run ", "serve ", "version "}},
		{[]string{"replication", "rotate", "--help"}, []string{"entities replication rotate", "--appId", "stop all components", "ENTITIES_JOURNAL"}},
		{[]string{"journal", "--help"}, []string{"services ", "erase ", "Exit codes:", "ENTITIES_COMPONENT"}},
		{[]string{"journal", "export", "--help"}, []string{"entities journal export <file>", "--component"}},
		{[]string{"journal", "import", "--help"}, []string{"--dry-run", "--merge"}},
		{[]string{"journal", "move", "--help"}, []string{"ENTITIES_JOURNAL_TO"}},
		{[]string{"journal", "tail", "--help"}, []string{"--follow", "--since"}},
		{[]string{"serve", "--help"}, []string{"--journal", "sqlite:entities.db", "--socketFolder"}},
		{[]string{"run", "--help"}, []string{"entities run [flags] -- command [arguments]\n", "dapr run -f", "--journal"}},
	} {
		p := entities(t, test.args...)
		p.exits(0)
		for _, want := range test.want {
			p.says(want)
		}
		for line := range strings.Lines(p.text()) {
			if len(line) > 121 {
				t.Errorf("%v: a line of %d bytes: %s", test.args, len(line), line)
			}
		}
	}
}
