package component

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// remembered is a folder in which a component has been initialised before.
func remembered(t *testing.T, settings map[string]string) string {
	t.Helper()
	at := folder(t)
	p := begin(t, at, nil)
	p.mustInit(settings)
	if settings["journal"] != "memory:" {
		if err := p.set("k", "before"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	return at
}

func TestResume(t *testing.T) {
	t.Parallel()
	settings := func(t *testing.T) map[string]string {
		return map[string]string{"journal": "sqlite:" + folder(t) + "/e.db", "host": "false", "appId": "shop"}
	}
	ours := component("entities", "state.entities")

	t.Run("the sidecar lists it", func(t *testing.T) {
		t.Parallel()
		sidecar := beginSidecar(t, ours)
		p := begin(t, remembered(t, settings(t)), map[string]string{"daprGrpcEndpoint": sidecar.address})
		eventually(t, "resumed", func() bool { return p.host.Load() != nil })
		eventually(t, "the state store answers", func() bool { got, err := p.get("k"); return got == "before" && err == nil })
	})

	t.Run("the sidecar comes late", func(t *testing.T) {
		t.Parallel()
		sidecar := beginSidecar(t, ours)
		sidecar.refusal = status.Error(codes.Unavailable, "not yet")
		p := begin(t, remembered(t, settings(t)), map[string]string{"daprGrpcEndpoint": sidecar.address})
		eventually(t, "it has asked some times", func() bool { return sidecar.questions() > 3 })
		if p.host.Load() != nil || strings.Contains(p.log.String(), "WARN") {
			t.Errorf("before the sidecar is there:\n%s", p.log)
		}
		sidecar.mu.Lock()
		sidecar.refusal = nil
		sidecar.mu.Unlock()
		eventually(t, "resumed", func() bool { return p.host.Load() != nil })
	})

	for name, listed := range map[string]*sidecar{
		"the sidecar lists another": beginSidecar(t, component("redis", "state.redis")),
		"the name is a Redis's now": beginSidecar(t, component("entities", "state.redis")),
		"the sidecar is another's":  beginSidecar(t, ours),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := settings(t)
			if strings.Contains(name, "another's") {
				s["appId"] = "cinema"
			}
			p := begin(t, remembered(t, s), map[string]string{"daprGrpcEndpoint": listed.address})
			eventually(t, "it says that it does not resume", func() bool { return strings.Contains(p.log.String(), "is not resumed") })
			if p.host.Load() != nil {
				t.Error("it resumed")
			}
			p.mustInit(s)
			if got, err := p.get("k"); got != "before" || err != nil {
				t.Errorf("after an Init: %q, %v", got, err)
			}
		})
	}

	t.Run("the sidecar refuses", func(t *testing.T) {
		t.Parallel()
		sidecar := beginSidecar(t, ours)
		sidecar.refusal = status.Error(codes.Unauthenticated, "no token")
		p := begin(t, remembered(t, settings(t)), map[string]string{"daprGrpcEndpoint": sidecar.address})
		eventually(t, "it has asked some times", func() bool { return sidecar.questions() > 3 })
		if n := strings.Count(p.log.String(), "DAPR_API_TOKEN"); n != 1 {
			t.Errorf("it said %d times what to do:\n%s", n, p.log)
		}
	})

	t.Run("an Init is faster", func(t *testing.T) {
		t.Parallel()
		sidecar := beginSidecar(t, ours)
		sidecar.refusal = status.Error(codes.Unavailable, "not yet")
		s := settings(t)
		p := begin(t, remembered(t, s), map[string]string{"daprGrpcEndpoint": sidecar.address})
		s["idleTimeout"] = "5m"
		p.mustInit(s)
		host := p.host.Load()
		sidecar.mu.Lock()
		sidecar.refusal = nil
		sidecar.mu.Unlock()
		asked := sidecar.questions()
		for range 3 {
			if err := p.set("k", "after"); err != nil {
				t.Fatal(err)
			}
		}
		if p.host.Load() != host || sidecar.questions() > asked+1 {
			t.Error("the kept Init replaced the sidecar's own")
		}
	})

	// The journal's server may be restarting too.
	t.Run("the journal comes late", func(t *testing.T) {
		t.Parallel()
		sidecar := beginSidecar(t, ours)
		s := settings(t)
		at := remembered(t, s)
		owner := begin(t, folder(t), nil) // has the file
		owner.mustInit(s)
		p := begin(t, at, map[string]string{"daprGrpcEndpoint": sidecar.address})
		eventually(t, "it says that the journal is not to be had", func() bool { return strings.Contains(p.log.String(), "is not resumed") })
		if got := p.ready(); !strings.Contains(got, "host: not started") {
			t.Errorf("readiness: %s", got)
		}
		if err := owner.stop(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "resumed", func() bool { return p.host.Load() != nil })
		if got, err := p.get("k"); got != "before" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})

	t.Run("flags come after it", func(t *testing.T) {
		t.Parallel()
		sidecar := beginSidecar(t, ours)
		p := begin(t, remembered(t, settings(t)), map[string]string{"daprGrpcEndpoint": sidecar.address, "journal": "memory:", "host": "false"},
			func(c *Config) { c.Standalone = true })
		eventually(t, "it runs", func() bool { return p.host.Load() != nil })
		if scheme := p.host.Load().settings.Journal.Scheme; scheme != "sqlite" {
			t.Errorf("it runs on the journal of its flags, %s", scheme)
		}
		if n := strings.Count(p.log.String(), "msg=started"); n != 1 {
			t.Errorf("it started %d times", n)
		}
	})

	t.Run("without an init file", func(t *testing.T) {
		t.Parallel()
		s := settings(t)
		s["initFile"] = "off"
		sidecar := beginSidecar(t, ours)
		p := begin(t, remembered(t, s), map[string]string{"daprGrpcEndpoint": sidecar.address})
		if err := p.set("k", "1"); !strings.Contains(text(err), "restart the sidecar") {
			t.Errorf("a request before an Init: %v", err)
		}
		if sidecar.questions() > 0 {
			t.Error("it asked the sidecar, though there is nothing to resume")
		}
	})
}
