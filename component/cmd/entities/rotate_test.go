package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// restored makes a journal that nodes of the app ids have used, and returns the setting and the cluster id of the first.
func restored(t *testing.T, appIDs ...string) (setting string, cluster uint64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "e.db")
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for i, appID := range appIDs {
		view, err := slot.Rotate(t.Context(), j, appID)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			cluster = view.ClusterUID
		}
	}
	return "sqlite:" + file, cluster
}

func TestRotate(t *testing.T) {
	t.Parallel()
	setting, before := restored(t, "shop", "cinema")
	for _, prepare := range []struct {
		args []string
		env  string
	}{
		{[]string{"--journal", setting, "--appId", "shop"}, ""},
		{[]string{"--appId=shop"}, setting},
		{[]string{"--journal", setting, "--appId", "shop"}, "sqlite:somewhere/else.db"}, // the flag counts
	} {
		p := entitiesWith(t, func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "ENTITIES_JOURNAL="+prepare.env)
		}, append([]string{"replication", "rotate"}, prepare.args...)...)
		p.exits(0)
		p.says("The replicated entities of shop have the new cluster id ")
		after := strings.Fields(strings.SplitAfter(p.text(), "cluster id ")[1])[0]
		if after == fmt.Sprintf("%x,", before) {
			t.Errorf("the cluster id is still %s", after)
		}
	}
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: strings.TrimPrefix(setting, "sqlite:")})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	view, err := slot.Rotate(t.Context(), j, "shop")
	if err != nil || view.ID != 5 {
		t.Errorf("it was not rotated three times: %+v, %v", view, err)
	}
}

func TestRotateRefuses(t *testing.T) {
	t.Parallel()
	used, _ := restored(t, "shop", "cinema")
	empty, _ := restored(t)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no journal":       {[]string{"--appId", "shop"}, "no journal is given; set ENTITIES_JOURNAL, or give --journal"},
		"no app id":        {[]string{"--journal", used}, "no app id is given; give --appId"},
		"no such app id":   {[]string{"--journal", used, "--appId", "shpo"}, `no replicated entities of the app id "shpo"; it has those of cinema, shop`},
		"nothing to do":    {[]string{"--journal", empty, "--appId", "shop"}, "nothing to rotate; is it the right one?"},
		"no such folder":   {[]string{"--journal", "sqlite:none/e.db", "--appId", "shop"}, "does not exist; make it first"},
		"password, hidden": {[]string{"--journal", "postgres://u:geheim@h", "--appId", "shop"}, "names no database"},
		"flag":             {[]string{"--jurnal", used}, "did you mean --journal?"},
		"argument":         {[]string{"shop"}, `unknown command "shop" for "entities replication rotate"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := entities(t, append([]string{"replication", "rotate"}, test.args...)...)
			p.exits(1)
			p.says(test.want)
			if strings.Contains(p.text(), "geheim") {
				t.Error("it shows the password")
			}
			p.clean()
		})
	}
}
