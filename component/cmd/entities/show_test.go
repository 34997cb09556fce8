package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/component/operations"
)

// filled makes a sqlite journal with an entity of each kind, and returns its setting.
func filled(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "e.db")
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	text := func(name, data string) journal.Event {
		return journal.Event{Name: name, Payload: actors.Payload{TypeURL: "json.cloudstate.io/" + name, ContentType: actors.ContentJSON, Data: []byte(data)}}
	}
	value := func(data string) journal.Event {
		return journal.Event{Name: "set", Payload: actors.Payload{TypeURL: "state.entities/value", Data: []byte(data)}}
	}
	empty := actors.Payload{TypeURL: "type.googleapis.com/google.protobuf.Empty", ContentType: actors.ContentProtobuf}
	snapshot := text("", `{"items":1}`).Payload
	for i, a := range []journal.Append{
		{Ref: actors.Ref{Service: "shop.v1.Cart", ID: "cart-1"}, Events: []journal.Event{text("item-added", `{"product":"tea"}`)}, Snapshot: &snapshot},
		{Ref: actors.Ref{Service: "shop.v1.Cart", ID: "cart-1"}, Expected: 1, Events: []journal.Event{text("item-removed", `{"product":"\u001b[31mtea"}`),
			{Payload: actors.Payload{TypeURL: "type.googleapis.com/shop.v1.Paid", ContentType: actors.ContentProtobuf, Data: []byte{8, 1}}}}},
		{Ref: actors.Ref{Service: "shop.v1.Cart", ID: "cart-2"}, Events: []journal.Event{text("item-added", `{}`)}},
		{Ref: actors.Ref{Service: "chat.v1.Profile", ID: "ada"}, Events: []journal.Event{text("updated", `{"name":"Ada"}`), {Name: "deleted", Payload: empty}}},
		{Ref: actors.Ref{Service: operations.StateService, ID: "shop||key"}, Events: []journal.Event{value("one"), value(`{"two":2}`)}},
	} {
		a.Command = fmt.Sprint("c", i)
		if r := j.Append(t.Context(), []journal.Append{a})[0]; r.Status != journal.Committed {
			t.Fatal(r.Status, r.Err)
		}
	}
	return "sqlite:" + file
}

func TestShow(t *testing.T) {
	t.Parallel()
	setting := filled(t)
	for _, test := range []struct {
		args string
		code int
		want []string
	}{
		{"list shop.v1.Cart", 0, []string{"ID      SEQUENCE  UPDATED\ncart-1  3         20", "cart-2  1  "}},
		{"list shop.v1.Cart -o json --limit 1", 0, []string{`{"service":"shop.v1.Cart","id":"cart-1","sequence":3,"updated":"`}},
		{"list shop.v2.Cart", 3, []string{"no entities of shop.v2.Cart; entities journal services lists"}},
		{"history shop.v1.Cart cart-1", 0, []string{
			"SEQUENCE  TIME", "item-added    {\"product\":\"tea\"}", `\u001b[31mtea`, "type.googleapis.com/shop.v1.Paid, 2 bytes: 0801",
		}},
		{"history shop.v1.Cart cart-1 --after 2 -o json", 0, []string{`"sequence":3,"name":""`, `"data":{"@type":"type.googleapis.com/shop.v1.Paid","base64":"CAE="}`}},
		{"history shop.v1.Cart cart-1 --after 4", 3, []string{"has no events after 4: the newest is 3"}},
		{"history shop.v1.Cart cart-3", 3, []string{"the journal has no shop.v1.Cart/cart-3; entities journal list"}},
		{"state shop.v1.Cart cart-1", 0, []string{"version  3 of 3", "kind     event-sourced (by its events", "snapshot at 1\n{\"items\":1}", "item-removed"}},
		{"state shop.v1.Cart cart-1 --version 4", 3, []string{"has no version 4: the newest is 3"}},
		{"state shop.v1.Cart cart-1 --version 2 --limit 1 -o json", 0, []string{`"snapshot":{"sequence":1,`, `"events":[{"service":"shop.v1.Cart","id":"cart-1","sequence":2,`}},
		{"state chat.v1.Profile ada", 0, []string{"kind     value (by", "deleted: there was no value then"}},
		{"state chat.v1.Profile ada --version 1", 0, []string{"version  1 of 2", `{"name":"Ada"}`}},
		{"state state/entities shop||key", 0, []string{"kind     state\n", `{"two":2}`}},
		{"state state/entities shop||key --version 1 -o json", 0, []string{`"kind":"state"`, `"exists":true`, `"data":"one"`}},
		{"state state/entities shop||key --kind odd", 1, []string{"use event-sourced, value or state"}},
		{"tail shop.v1.Cart --id cart-* --name item-*", 0, []string{"shop.v1.Cart/cart-1  1         item-added", "shop.v1.Cart/cart-2  1"}},
		{"tail shop.v1.Cart --from now", 0, nil},
		{"tail shop.v1.Cart --from then", 1, []string{"use start or now"}},
		{"tail shop.v1.Cart --since yesterday", 1, []string{"write a time such as"}},
		{"tail shop.v1.Cart --name [", 1, []string{`the pattern "[" is malformed`}},
		{"list x -o yaml", 1, []string{`the output "yaml" is unknown; use table or json`}},
		{"list x --journal sqlite:none.db", 1, []string{"there is no file none.db; is it the right folder?"}},
		{"list x --journal memory:", 1, []string{"through its component only; name that by --component"}},
		{"list x --journal postgres://me:geheim@127.0.0.1:1/x?connect_timeout=1", 1, []string{"open the journal"}},
		{"list x --component", 1, []string{"both --journal and --component are given"}},
	} {
		args := append([]string{"journal"}, strings.Fields(test.args)...)
		if !strings.Contains(test.args, "--journal") {
			args = append(args, "--journal", setting)
		}
		p := entities(t, args...)
		p.exits(test.code)
		for _, want := range test.want {
			p.says(want)
		}
		if strings.Contains(p.text(), "geheim") || strings.Contains(p.text(), "\x1b") {
			t.Errorf("%s shows what it must not: %s", test.args, p.text())
		}
		if strings.Contains(test.args, "-o json") {
			for line := range strings.Lines(p.text()) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%s: no JSON: %s", test.args, line)
				}
			}
		}
	}
}

// A journal that a host has open is not to be had, and the error says how it is.
func TestShowInUse(t *testing.T) {
	t.Parallel()
	setting := filled(t)
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: strings.TrimPrefix(setting, "sqlite:")})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	p := entitiesWith(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "ENTITIES_JOURNAL="+setting) }, "journal", "list", "shop.v1.Cart")
	p.exits(1)
	p.says("has the file open")
	p = entities(t, "journal", "list", "shop.v1.Cart")
	p.exits(1)
	p.says("give --journal or ENTITIES_JOURNAL, or --component")
}
