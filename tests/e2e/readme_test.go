package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// shown is a command of a README, and what it says that the answer is.
type shown struct{ command, answer string }

// shownIn returns the commands in a README's indented blocks that curl runs, in order, each with the lines before it that set
// variables. An answer is the block after the one that its command ends; it may have line breaks for the reader.
func shownIn(t *testing.T, file string) (list []shown) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var variables, open strings.Builder
	answering := false
	for line := range strings.Lines(string(data)) {
		line, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		switch {
		case !indented && line != "":
			open.Reset()
			answering = false
		case strings.HasPrefix(line, "curl "), open.Len() > 0 && line != "":
			line, more := strings.CutSuffix(line, "\\")
			open.WriteString(line)
			// A quotation that is open goes on in the next line, too.
			if !more && strings.Count(open.String(), "'")%2 == 0 {
				list = append(list, shown{command: variables.String() + open.String()})
				open.Reset()
			}
		case indented && strings.Contains(line, "=http://"):
			variables.WriteString(line + "\n")
		case indented && len(list) > 0 && (strings.HasPrefix(line, "{") || answering):
			answering = true
			list[len(list)-1].answer += strings.TrimSpace(line) + " "
		}
	}
	if len(list) < 4 {
		t.Fatalf("%s shows %d commands", file, len(list))
	}
	return list
}

// What the READMEs of the samples tell people to type works as it is written.
func TestReadmes(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("the READMEs use curl, which is not installed")
	}
	for sample, actorTypes := range map[string][]string{
		"cart": {"ShoppingCart"}, "bank": {"Account", "Transfer"}, "profile": {"Profiles"}, "presence": {"Presence"}, "statestore": {},
	} {
		t.Run(sample, func(t *testing.T) {
			t.Parallel()
			ports, err := harness.FreePorts(2)
			if err != nil {
				t.Fatal(err)
			}
			gateway := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
			options := harness.HostOptions{
				Handler:    harness.HandlerOptions{Package: "samples/" + sample + "/cmd/" + sample, Port: ports[1]},
				Metadata:   map[string]string{"gatewayAddress": strings.TrimPrefix(gateway, "http://")},
				ActorTypes: actorTypes,
			}
			if sample == "statestore" {
				options = inPython(t, "../../samples/statestore/wiki.py", ports[1])
			}
			s := start(t, options)
			addresses := strings.NewReplacer("http://127.0.0.1:3500", s.dapr.Base, "http://127.0.0.1:8085", gateway,
				"http://127.0.0.1:8080", "http://"+s.Handler.Address)
			for _, x := range shownIn(t, "../../samples/"+sample+"/README.md") {
				// A transfer is complete a moment after it was started, and a message comes a moment after its event.
				err := harness.Poll(within(t, 40*time.Second), 100*time.Millisecond, func(ctx context.Context) error {
					var out bytes.Buffer
					line := strings.Replace(addresses.Replace(x.command), "curl ", "curl -sS ", 1)
					// A stream is looked at for a moment.
					streamed := strings.Contains(line, " -N ")
					if streamed {
						line = strings.Replace(line, " -N ", " -N --max-time 2 ", 1)
					}
					command := exec.CommandContext(ctx, "sh", "-c", line)
					command.Stdout, command.Stderr = &out, &out
					err := command.Run()
					if streamed && command.ProcessState.ExitCode() == 28 && strings.Contains(out.String(), "data: {") {
						return nil
					}
					if err != nil || streamed {
						return fmt.Errorf("%w: %s", err, out.String())
					}
					return answers(out.String(), x.answer)
				})
				if err != nil {
					t.Errorf("%s\n%v", x.command, err)
				}
			}
		})
	}
}

// inPython is a state store with replicated keys, and its feed, beside an app that listens on a port.
func inPython(t *testing.T, source string, port int) harness.HostOptions {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("python3 is not installed")
		}
		t.Fatal(err)
	}
	sidecar, err := harness.FreeDaprdPorts()
	if err != nil {
		t.Fatal(err)
	}
	return harness.HostOptions{
		AppID:    "wiki",
		Metadata: map[string]string{"host": "false", "crdt.likes-": "pncounter", "crdt.tags-": "orset"},
		Pubsub:   map[string]string{},
		Handler: harness.HandlerOptions{
			Binary: "python3", Args: []string{source}, Port: port,
			Env: []string{fmt.Sprintf("DAPR_HTTP_PORT=%d", sidecar.HTTP), "PYTHONDONTWRITEBYTECODE=1"},
		},
		Daprd: harness.DaprdOptions{Ports: sidecar, AppPort: port},
	}
}

// answers checks what a command printed. What no answer is shown of must not have failed.
func answers(got, want string) error {
	if want == "" {
		if strings.Contains(got, "errorCode") || strings.Contains(got, "about:blank") {
			return fmt.Errorf("it failed: %s", got)
		}
		return nil
	}
	var g, w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		return fmt.Errorf("the README shows %s: %w", want, err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil || !reflect.DeepEqual(g, w) {
		return fmt.Errorf("got  %s\nwant %s", got, want)
	}
	return nil
}
