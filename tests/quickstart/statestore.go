package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

const (
	wikiSource = "samples/statestore/wiki.py"
	teaPath    = "/pages/tea"

	firstText  = "Tea is a drink."
	secondText = "Tea is a hot drink."

	// readers like a page at the same time.
	readers = 20
)

// wiki is the story of a page, and is checked while it is told.
type wiki struct {
	shopping
	host *harness.Host
}

// showStateStore writes a wiki's pages through an app that knows nothing but Dapr's state API.
func showStateStore(ctx context.Context, cluster *harness.Cluster, p *printer, stay bool) error {
	host, err := startWiki(ctx, cluster, p)
	if err != nil {
		return err
	}

	app := harness.NewClient("http://" + host.Handler.Address)
	defer app.Close()

	w := &wiki{shopping{ctx: ctx, print: p, dapr: app}, host}

	for _, act := range []func() error{w.versions, w.crowd, w.feed, w.crash, w.deletion} {
		if err := act(); err != nil {
			return err
		}
	}

	p.line("\nEvery reply was as expected.")

	if !stay {
		return nil
	}

	w.goOn()

	if err := supervise(ctx, p, host); err != nil {
		return err
	}

	p.line("\nStopping.")

	return nil
}

// startWiki starts the app, the component and the sidecar, each of which knows the ports of the others.
func startWiki(ctx context.Context, cluster *harness.Cluster, p *printer) (*harness.Host, error) {
	p.title("Bringing up the entities component as a state store, a Dapr sidecar, and an app in Python")

	options, err := wikiHost()
	if err != nil {
		return nil, err
	}

	host, err := cluster.StartHost(ctx, options)
	if err != nil {
		return nil, err
	}

	p.started("wiki", host.Handler.Address, "an app that speaks plain HTTP: "+wikiSource)
	p.started("entities", host.Component.Options.Socket(), "the component, with its journal in SQLite")
	p.started("daprd", host.Daprd.Base, "the Dapr sidecar")

	app := harness.NewClient("http://" + host.Handler.Address)
	defer app.Close()

	return host, awaitApp(ctx, app)
}

// wikiHost is how the wiki is started.
func wikiHost() (harness.HostOptions, error) {
	if _, err := exec.LookPath("python3"); err != nil {
		return harness.HostOptions{}, fmt.Errorf("the sample statestore is written in Python, which is not installed: %w", err)
	}

	source, err := harness.Source(wikiSource)
	if err != nil {
		return harness.HostOptions{}, err
	}

	ports, err := harness.FreePorts(1)
	if err != nil {
		return harness.HostOptions{}, err
	}

	sidecar, err := harness.FreeDaprdPorts()
	if err != nil {
		return harness.HostOptions{}, err
	}

	return harness.HostOptions{
		Name:  "wiki",
		AppID: "wiki",
		Metadata: map[string]string{
			"host": "false", "actorStateStore": "false", "crdt.likes-": "pncounter", "crdt.tags-": "orset",
		},
		Pubsub: map[string]string{},
		Handler: harness.HandlerOptions{
			Name: "wiki", Binary: "python3", Args: []string{source}, Port: ports[0],
			Env: []string{"DAPR_HTTP_PORT=" + strconv.Itoa(sidecar.HTTP), "PYTHONDONTWRITEBYTECODE=1"},
		},
		Component: harness.ComponentOptions{Name: "entities"},
		Daprd:     harness.DaprdOptions{Name: "daprd", Ports: sidecar, AppPort: ports[0]},
	}, nil
}

// awaitApp waits until the app reaches the store.
func awaitApp(ctx context.Context, app *harness.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	return harness.Poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		response, err := app.Do(ctx, http.MethodGet, "/pages/none", nil, nil)
		if err == nil && response.Status != http.StatusNotFound {
			err = fmt.Errorf("the wiki does not reach its store: %d %s", response.Status, response.Body)
		}

		return err
	})
}

// versions writes a page twice and reads what it was.
func (w *wiki) versions() error {
	var versions []struct{ Time time.Time }

	if err := w.tellSteps(
		step{
			title: "A page", note: "The app saves a key by Dapr's state API.",
			method: http.MethodPut, path: teaPath, body: `{"text":"` + firstText + `"}`, want: replies(`{"page":"tea","version":1}`),
		},
		step{
			title: "Written again, by somebody who has read version 1", note: "The ETag is the version.",
			method: http.MethodPut, path: teaPath, body: `{"text":"` + secondText + `","version":1}`, want: replies(`{"page":"tea","version":2}`),
		},
		step{
			title:  "And by somebody who was too late",
			method: http.MethodPut, path: teaPath, body: `{"text":"Tea is cold.","version":1}`, want: fails("etag mismatch"),
		},
		step{
			title: "What it has been", note: "Nothing was overwritten.",
			method: http.MethodGet, path: teaPath + "/history", want: func(r harness.Response) error {
				if err := json.Unmarshal(r.Body, &versions); err != nil || len(versions) != 2 {
					return fmt.Errorf("got %s, want two versions", r.Body)
				}

				return nil
			},
		},
	); err != nil {
		return err
	}

	return w.tellSteps(
		step{
			title:  "The first version",
			method: http.MethodGet, path: teaPath + "?version=1", want: replies(`{"page":"tea","text":"` + firstText + `","version":1}`),
		},
		step{
			title:  "The page at a time",
			method: http.MethodGet, path: teaPath + "?asOf=" + versions[0].Time.Format(time.RFC3339Nano),
			want: replies(`{"page":"tea","text":"` + firstText + `","version":1}`),
		},
	)
}

// crowd has many people write at once.
func (w *wiki) crowd() error {
	w.print.title(fmt.Sprintf("%d readers like it at the same time", readers))
	w.print.note(`The key is a counter: the app saves {"increment":1}, reads nothing before, and nobody conflicts.`)
	w.print.line("  " + w.print.paint(blue, fmt.Sprintf("%d × POST %s/likes", readers, teaPath)))

	var crowd sync.WaitGroup

	failed := make(chan error, readers)

	for range readers {
		crowd.Go(func() {
			response, err := w.dapr.Do(w.ctx, http.MethodPost, teaPath+"/likes", nil, []byte("{}"))
			if err == nil && !response.OK() {
				err = fmt.Errorf("like the page: %d %s", response.Status, response.Body)
			}

			failed <- err
		})
	}

	crowd.Wait()

	for range readers {
		if err := <-failed; err != nil {
			return err
		}
	}

	return w.tellSteps(
		step{
			title: "Tags", note: "A set: what one adds and another removes does not conflict either.",
			method: http.MethodPost, path: teaPath + "/tags", body: `{"add":["hot","drink","new"]}`,
			want: replies(`{"page":"tea","tags":["drink","hot","new"]}`),
		},
		step{
			title:  "One is too many",
			method: http.MethodPost, path: teaPath + "/tags", body: `{"remove":["new"]}`, want: replies(`{"page":"tea","tags":["drink","hot"]}`),
		},
		step{title: "All of it", method: http.MethodGet, path: teaPath, want: replies(tea)},
	)
}

// tea is the page after all that was done to it.
var tea = fmt.Sprintf(`{"page":"tea","text":%q,"version":2,"likes":%d,"tags":["drink","hot"]}`, secondText, readers)

// feed shows what the subscription has told the app.
func (w *wiki) feed() error {
	return w.eventually(step{
		title: "What the app was told of", note: "It subscribes to the topic state/entities: every version of every key.",
		method: http.MethodGet, path: "/changes",
		want: replies(`{"changes":[{"page":"tea","version":1,"deleted":false},{"page":"tea","version":2,"deleted":false}]}`),
	})
}

// crash kills what is between the app and the journal.
func (w *wiki) crash() error {
	w.print.title("Kill the component and the sidecar")

	for _, one := range []*harness.Process{w.host.Daprd.Process, w.host.Component.Process} {
		pid := one.Pid()
		one.Kill()
		w.print.shell(fmt.Sprintf("kill -9 %d", pid))
	}

	if err := errors.Join(w.host.Component.Start(w.ctx), w.host.Daprd.Start(w.ctx)); err != nil {
		return fmt.Errorf("start them again: %w", err)
	}

	w.print.note(fmt.Sprintf("They run again, as processes %d and %d.", w.host.Daprd.Pid(), w.host.Component.Pid()))

	if err := awaitApp(w.ctx, w.dapr); err != nil {
		return err
	}

	return w.tellSteps(step{title: "Nothing is lost", method: http.MethodGet, path: teaPath, want: replies(tea)})
}

// deletion ends the page, and looks at it all the same.
func (w *wiki) deletion() error {
	if err := w.tellSteps(
		step{
			title:  "Delete the page",
			method: http.MethodDelete, path: teaPath, want: replies(`{"page":"tea","deleted":true}`),
		},
		step{title: "It is gone", method: http.MethodGet, path: teaPath, want: fails("there is no page tea")},
		step{
			title: "Its past is not", method: http.MethodGet, path: teaPath + "?version=2",
			want: replies(`{"page":"tea","text":"` + secondText + `","version":2}`),
		},
	); err != nil {
		return err
	}

	return w.eventually(step{
		title: "The app was told of it", note: "The subscription goes on where it was.",
		method: http.MethodGet, path: "/changes", want: says(`{"page": "tea", "version": 3, "deleted": true}`),
	})
}

// eventually waits, before it tells a step, for what comes a moment later.
func (w *wiki) eventually(step step) error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()

	if err := harness.Poll(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		response, err := w.send(ctx, step)
		if err != nil {
			return err
		}

		return step.want(response)
	}); err != nil {
		return fmt.Errorf("%s: %w", strings.ToLower(step.title), err)
	}

	return w.do(step)
}

// says wants success and a text that has the part.
func says(part string) func(harness.Response) error {
	return func(response harness.Response) error {
		if !response.OK() || !strings.Contains(string(response.Body), part) {
			return fmt.Errorf("got %d %s, want %s", response.Status, response.Body, part)
		}

		return nil
	}
}

func (w *wiki) tellSteps(steps ...step) error {
	for _, step := range steps {
		if err := w.do(step); err != nil {
			return err
		}
	}

	return nil
}

// goOn says what to try next.
func (w *wiki) goOn() {
	p, app := w.print, "http://"+w.host.Handler.Address

	p.line("\n" + p.paint(bold, "Go on yourself, in another terminal:"))

	for _, try := range [][]string{
		{"Write a page", "-X PUT -d '{\"text\":\"Coffee is black.\"}'", "/pages/coffee"},
		{"Like it, as often as you want and from as many terminals", "-X POST", "/pages/coffee/likes"},
		{"Tag it", "-d '{\"add\":[\"hot\"]}'", "/pages/coffee/tags"},
		{"Look at it, and at what it was", "", "/pages/coffee", "'/pages/coffee?version=1'", "/pages/coffee/history"},
		{"What the app was told of pages", "", "/changes"},
	} {
		p.note(try[0])

		for _, path := range try[2:] {
			path, quoted := strings.CutPrefix(path, "'")
			if path = app + path; quoted {
				path = "'" + path
			}

			p.shell(strings.Join(strings.Fields("curl "+try[1]+" "+path), " "))
		}
	}

	p.note("The same keys by Dapr, without the app")
	p.shell("curl " + w.host.Daprd.Base + "/v1.0/state/" + harness.StateName + "/likes-coffee")
	p.note("The logs of all processes")
	p.shell("tail -f " + w.host.Daprd.LogFile() + " " + w.host.Component.LogFile() + " " + w.host.Handler.LogFile())

	p.line("\n" + p.paint(bold, "Ctrl-C ends everything."))
}
