package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/dapr-entities/entities/tests/harness"
)

// printer writes for people. It colours on a terminal only, and not if NO_COLOR is set.
type printer struct {
	out    io.Writer
	colour bool
}

func newPrinter(out io.Writer) *printer {
	p := &printer{out: out}

	if file, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		info, err := file.Stat()
		p.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}

	return p
}

// The colours, as terminals number them.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	blue  = "34"
)

func (p *printer) paint(colour, text string) string {
	if !p.colour || text == "" {
		return text
	}

	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (p *printer) line(text string) { _, _ = fmt.Fprintln(p.out, text) }

func (p *printer) title(text string) { p.line("\n" + p.paint(bold, text)) }

func (p *printer) note(text string) {
	if text != "" {
		p.line("  " + p.paint(dim, text))
	}
}

func (p *printer) shell(text string) { p.line("  $ " + p.paint(blue, text)) }

func (p *printer) started(name, address, what string) {
	p.line(fmt.Sprintf("  %-10s %-40s %s", name, address, p.paint(dim, what)))
}

func (p *printer) request(step step) {
	p.line("  " + p.paint(blue, step.method+" "+step.path))

	for _, pair := range step.header {
		p.line("  " + p.paint(blue, pair[0]+": "+pair[1]))
	}

	if step.body != "" {
		p.line("  " + step.body)
	}
}

func (p *printer) response(response harness.Response) {
	colour := green
	if !response.OK() {
		colour = red
	}

	status := fmt.Sprintf("%d %s", response.Status, http.StatusText(response.Status))
	p.line("  " + p.paint(colour, status))

	if body := bytes.TrimSpace(response.Body); len(body) > 0 {
		p.line("  " + readable(body))
	}
}

// readable indents JSON that is too long for one line.
func readable(body []byte) string {
	if len(body) <= 120 {
		return string(body)
	}

	var indented bytes.Buffer
	if json.Indent(&indented, body, "  ", "  ") != nil {
		return string(body)
	}

	return indented.String()
}

// goOn says what to try next.
func (p *printer) goOn(host *harness.Host) {
	base := host.Daprd.Base

	p.title("Go on yourself, from another terminal")

	curl := func(note, path string, more ...string) {
		p.note(note)
		p.shell(strings.Join(append([]string{"curl -X PUT", base + path}, more...), " "))
	}

	curl("Another cart; the last part is the command", harness.ActorPath(actorType, "cart-2", "AddItem"),
		`-d '{"product":"tea","name":"Earl Grey","quantity":3}'`)
	curl("Look at it", harness.ActorPath(actorType, "cart-2", "GetCart"))
	curl("Take something out", harness.ActorPath(actorType, cartID, "RemoveItem"), `-d '{"product":"pen"}'`)
	curl("Buy", harness.ActorPath(actorType, cartID, "Checkout"))

	p.note("Its history")
	p.shell("curl " + base + "/v1.0/bindings/" + harness.BindingName +
		` -d '{"operation":"history","metadata":{"service":"shop.v1.ShoppingCart","id":"` + cartID + `"}}'`)
	p.note("The same by the gateway, and what it serves")
	p.shell("curl -X POST " + host.Gateway + "/entities/" + actorType + "/cart-2/GetCart")
	p.shell("curl " + host.Gateway + "/openapi.json")
	p.note("Kill the handlers; they are started again, and the carts are as they were")
	p.shell(fmt.Sprintf("kill -9 %d", host.Handler.Pid()))
	p.note("Metrics of the component, what Dapr knows of it, and the logs of all processes")
	p.shell("curl " + host.Component.Admin + "/metrics")
	p.shell("curl " + base + "/v1.0/metadata")
	p.shell("tail -f " + host.Daprd.LogFile() + " " + host.Component.LogFile() + " " + host.Handler.LogFile())

	p.line("\n" + p.paint(bold, "Ctrl-C ends everything."))
}
