package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	want := Config{
		UserFunction: "127.0.0.1:8080", Journal: Journal{Scheme: "sqlite", Source: "entities.db"}, Host: HostAuto,
		DaprGRPCEndpoint: "127.0.0.1:50001", CommandTimeout: time.Minute, IdleTimeout: 30 * time.Second,
		DrainTimeout: 2 * time.Second, GracePeriod: 20 * time.Second, Reads: Checked, MaxResident: 10000, MaxQueue: 1000,
		MaxInFlight: 10000, MaxEvents: 1000, MaxEffects: 100, MaxHops: 16, MaxTries: 10, LeaseTimeout: 5 * time.Second, Pubsub: "pubsub",
		Replication: Replication{Transport: TransportNone}, SlotTimeout: 15 * time.Second, MaxBytes: 256 << 20, MaxMessage: 16 << 20, MaxMetadata: 64 << 10, MaxReply: 4032 << 10,
		AdminAddress: "127.0.0.1:9095", LogLevel: slog.LevelInfo, LogFormat: "text", InitFile: true,
		From: FromBeginning, MaxDeliveries: 100, MaxUnacked: 16, AckTimeout: time.Minute, OnRestart: OnRestartLog,
		SocketFolder: "/tmp/dapr-components-sockets", SocketName: "entities", SocketMode: 0o660,
	}
	if diff := cmp.Diff(want, Default(), cmp.Comparer(func(a, b Secret) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestFromMetadata(t *testing.T) {
	t.Parallel()
	c, err := FromMetadata(map[string]string{
		"USERFUNCTION": "unix:/run/app.sock", "Journal": "postgres://u:p@h/d", "idletimeout": " 90s ", "MaxBytes": "1Gi",
		"actortype.shop.v1.ShoppingCart": "Cart", "initFile": "off", "host": "True",
		"actorStateStore": "true", "keyPrefix": "none",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.UserFunction, want.Journal = "unix:/run/app.sock", Journal{Scheme: "postgres", Source: "postgres://u:p@h/d"}
	want.IdleTimeout, want.MaxBytes = 90*time.Second, 1<<30
	want.ActorTypes = map[string]string{"shop.v1.ShoppingCart": "Cart"}
	want.InitFile, want.Host = false, HostAlways
	want.Replication.Transport = TransportJournal // it is shared
	if !c.Equal(want) {
		t.Error(cmp.Diff(want, c))
	}
	if c.Equal(Default()) {
		t.Error("a changed configuration equals the default")
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		metadata map[string]string
		want     []string
	}{
		"unknown":             {map[string]string{"idelTimeout": "1s"}, []string{`state.entities has no setting "idelTimeout"`, "did you mean idleTimeout?", "known: actorStateStore, actorType.<service>,"}},
		"unknown, far":        {map[string]string{"colour": "red"}, []string{`no setting "colour" (known:`}},
		"process only":        {map[string]string{"socketFolder": "/x"}, []string{"give the flag --socketFolder"}},
		"of a binding":        {map[string]string{"direction": "output"}, []string{"no setting"}},
		"twice":               {map[string]string{"reads": "cached", "Reads": "checked"}, []string{"reads is given twice"}},
		"all at once":         {map[string]string{"reads": "dirty", "maxQueue": "0", "nonsense": ""}, []string{`reads "dirty" is none of checked, cached`, `maxQueue "0" is not between`, `"nonsense"`}},
		"duration":            {map[string]string{"idleTimeout": "10"}, []string{`idleTimeout "10" is not a duration such as 10s`}},
		"duration, negative":  {map[string]string{"idleTimeout": "-1s"}, []string{"is not between 1ms and"}},
		"number":              {map[string]string{"maxQueue": "many"}, []string{"is not a whole number"}},
		"size":                {map[string]string{"maxBytes": "4MB"}, []string{`maxBytes "4MB" is not a size such as 4Mi`}},
		"size, huge":          {map[string]string{"maxBytes": "9000000000Gi"}, []string{"is not between"}},
		"drain":               {map[string]string{"drainTimeout": "8s"}, []string{"is not between 1ms and 7s"}},
		"bytes for a message": {map[string]string{"maxMessage": "512Mi"}, []string{"maxBytes"}},
		"one type, two":       {map[string]string{"actorType.a.B": "X", "actorType.b.B": "X"}, []string{`actorType.a.B and actorType.b.B both say "X"`}},
		"actor type":          {map[string]string{"actorType.a.B": "X/Y"}, []string{"is not a name for an actor type"}},
		"actor type, service": {map[string]string{"actorType.a/B": "X"}, []string{"does not name a service"}},
		"actor type, none":    {map[string]string{"actorType.": "X"}, []string{"no setting"}},
		"crdt, type":          {map[string]string{"crdt.likes-": "counter"}, []string{`crdt.likes- "counter" is none of gcounter, pncounter, gset,`}},
		"crdt, none":          {map[string]string{"crdt.": "flag"}, []string{"no setting", "crdt.<prefix>"}},
		"crdt, sidecar's":     {map[string]string{"crdt.app||likes": "flag"}, []string{"leave out what the sidecar puts before keys"}},
		"crdt, twice":         {map[string]string{"crdt.a": "flag", "CRDT.a": "vote"}, []string{"crdt.a is given twice"}},
		"admin":               {map[string]string{"adminAddress": "off"}, []string{"give the flag --adminAddress"}},
		"empty":               {map[string]string{"userFunction": ""}, []string{"must not be empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := FromMetadata(test.metadata)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say: %s", err, want)
				}
			}
		})
	}
}

// The longest prefix comes first. Case matters in prefixes, not in types.
func TestCRDT(t *testing.T) {
	t.Parallel()
	c, err := FromMetadata(map[string]string{"crdt.a": "GCounter", "crdt.A": "flag", "crdt.ab": "ormap", "CRDT.abc": "vote", "crdt.ab.": "gset"})
	if err != nil {
		t.Fatal(err)
	}
	want := []CRDTKeys{{"ab.", CRDTGSet}, {"abc", CRDTVote}, {"ab", CRDTORMap}, {"A", CRDTFlag}, {"a", CRDTGCounter}}
	if diff := cmp.Diff(want, c.CRDT); diff != "" {
		t.Error(diff)
	}
	if other, err := FromMetadata(map[string]string{"crdt.a": "gcounter"}); err != nil || other.Equal(c) {
		t.Error(other.CRDT, err)
	}
}

func TestProblemsOfFlags(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flags map[string]string
		want  string
	}{
		"drain within grace": {map[string]string{"gracePeriod": "1s"}, "drainTimeout (2s) is longer than gracePeriod (1s)"},
		"bool":               {map[string]string{"pprof": "maybe"}, "is neither true nor false"},
		"admin":              {map[string]string{"adminAddress": "localhost"}, "is neither host:port nor off"},
		"level":              {map[string]string{"logLevel": "loud"}, "logLevel"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Resolve(Process, test.flags); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\ndoes not say: %s", err, test.want)
			}
		})
	}
	c, err := Resolve(Process, map[string]string{"adminAddress": "OFF", "logLevel": "DEBUG", "pprof": "yes"})
	if err != nil || c.AdminAddress != "" || c.LogLevel != slog.LevelDebug || !c.Pprof {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]Journal{
		"sqlite:entities.db":                    {"sqlite", "entities.db"},
		"sqlite:/var/lib/a b.db":                {"sqlite", "/var/lib/a b.db"},
		"memory:":                               {"memory", ""},
		"MEMORY:":                               {"memory", ""},
		"postgres://u:p@h:1/d?sslmode=x":        {"postgres", "postgres://u:p@h:1/d?sslmode=x"},
		"postgresql:///d?host=/run/postgresql":  {"postgres", "postgresql:///d?host=/run/postgresql"},
		"postgres://u:p%40ss@[::1]:5432/events": {"postgres", "postgres://u:p%40ss@[::1]:5432/events"},
	} {
		if c, err := FromMetadata(map[string]string{"journal": value}); err != nil || c.Journal != want {
			t.Errorf("%s: %#v, %v", value, c.Journal, err)
		}
	}
	for value, want := range map[string]string{
		"":                            "is empty",
		"entities.db":                 "has no scheme; use sqlite:<file>, memory: or postgres://",
		"mysql://u:hunter2@h/d":       "has an unknown scheme",
		"sqlite:":                     "does not name a plain file",
		"sqlite:x.db?mode=memory":     "does not name a plain file",
		"memory:x":                    "has something after",
		"postgres://u:hunter2@h":      "names no database",
		"postgres://u:hunter2%@h/d":   "escape special characters",
		"postgres:host=h pw=hunter2":  "is not a URL",
		"postgres://u:hunter2@h:xy/d": "is not a URL",
		"dapr:statestore":             "not supported yet",
		"u:hunter2@h":                 "unknown scheme",
	} {
		_, err := FromMetadata(map[string]string{"journal": value})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", value, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", value, err)
		}
	}
}

func TestSecretNeverShows(t *testing.T) {
	t.Parallel()
	c := Default()
	c.DaprAPIToken, c.Journal.Source = "hunter2", "hunter2"
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%T%v"} {
		texts = append(texts, fmt.Sprintf(verb, c), fmt.Sprintf(verb, c.DaprAPIToken), fmt.Sprintf(verb, &c))
	}
	j, err := json.Marshal(map[string]any{"c": c, "m": map[string]Secret{"k": "hunter2"}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", c.DaprAPIToken, "config", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", c.DaprAPIToken, "config", c)
	for _, s := range append(texts, string(j), log.String(), fmt.Sprint(c.DaprAPIToken)) {
		if strings.Contains(s, "hunter") || strings.Contains(strings.ToLower(s), "68756e746572") {
			t.Errorf("shown: %s", s)
		}
	}
	if c.DaprAPIToken.Reveal() != "hunter2" || fmt.Sprint(Secret("")) != "" || fmt.Sprintf("%q", Secret("x")) != `"[secret]"` {
		t.Error("wrong text")
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	environment := Environment(func(name string) string {
		return map[string]string{
			"DAPR_GRPC_PORT": "3501", "DAPR_API_TOKEN": "token", "DAPR_COMPONENT_SOCKETS_FOLDER": "/injected", "ENTITIES_JOURNAL": "memory:",
		}[name]
	})
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := Flags(fs)
	if err := fs.Parse([]string{"--idleTimeout=2s", "--maxQueue", "7", "--pprof", "--actorType", "a.B=X", "--socketFolder=/flag"}); err != nil {
		t.Fatal(err)
	}
	c, err := Resolve(State, environment, flags(), map[string]string{"maxqueue": "9", "actorType.a.C": "Y"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.DaprGRPCEndpoint, want.DaprAPIToken, want.SocketFolder, want.Journal = "127.0.0.1:3501", "token", "/flag", Journal{Scheme: "memory"}
	want.IdleTimeout, want.MaxQueue, want.Pprof = 2*time.Second, 9, true
	want.ActorTypes = map[string]string{"a.B": "X", "a.C": "Y"}
	if !c.Equal(want) {
		t.Error(cmp.Diff(want, c))
	}

	both := Environment(func(name string) string {
		return map[string]string{
			"DAPR_GRPC_ENDPOINT": "https://dapr:443", "DAPR_GRPC_PORT": "1",
			"DAPR_COMPONENTS_SOCKETS_FOLDER": "/first", "DAPR_COMPONENT_SOCKETS_FOLDER": "/second",
		}[name]
	})
	if both["daprGrpcEndpoint"] != "https://dapr:443" || both["socketFolder"] != "/first" {
		t.Error(both)
	}
	if got := Environment(func(string) string { return "" }); len(got) != 0 {
		t.Errorf("an empty environment sets %v", got)
	}
}

func TestBindingMetadata(t *testing.T) {
	t.Parallel()
	c, err := Resolve(Binding, map[string]string{"maxQueue": "3"}, map[string]string{"commandTimeout": "2s", "direction": "output"})
	if err != nil || c.CommandTimeout != 2*time.Second || c.MaxQueue != 3 {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = Resolve(Binding, map[string]string{"journal": "memory:"})
	if err == nil || !strings.Contains(err.Error(), "belongs to the state.entities component") {
		t.Error(err)
	}
}

func TestTopicRetention(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{"OFF": 0, "24h": 24 * time.Hour, "1m": time.Minute} {
		if c, err := FromMetadata(map[string]string{"topicRetention": value}); err != nil || c.TopicRetention != want {
			t.Errorf("%s: %v, %v", value, c.TopicRetention, err)
		}
	}
	for value, want := range map[string]string{"1s": "between 1m and 876000h", "never": "and not off", "": "not a duration"} {
		if _, err := FromMetadata(map[string]string{"topicRetention": value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestPubSubMetadata(t *testing.T) {
	t.Parallel()
	c, err := Resolve(PubSub, map[string]string{"maxQueue": "3"}, map[string]string{
		"consumerId": "billing", "from": "NOW", "maxDeliveries": "3", "ackTimeout": "2s", "maxUnacked": "1", "onRestart": "restartsidecar",
		"allowedTopics": "orders", "publishingScopes": "a=b",
	})
	if err != nil || c.ConsumerID != "billing" || c.From != FromNow || c.MaxDeliveries != 3 || c.AckTimeout != 2*time.Second ||
		c.MaxUnacked != 1 || c.OnRestart != OnRestartSidecar {
		t.Errorf("%+v, %v", c, err)
	}
	for key, value := range map[string]string{
		"journal": "memory:", "consumerID": "a\x00b", "maxDeliveries": "0", "from": "tomorrow", "maxUnacked": "1001",
	} {
		if _, err := Resolve(PubSub, map[string]string{key: value}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s %q: %v", key, value, err)
		}
	}
	if _, err = Resolve(PubSub, map[string]string{"journal": "memory:"}); !strings.Contains(err.Error(), "belongs to the state.entities component, not to pubsub.entities") {
		t.Error(err)
	}
}

func FuzzFromMetadata(f *testing.F) {
	f.Add("journal", "postgres://u:p@h/d")
	f.Add("maxBytes", "12Ki")
	f.Add("actorType.a.B", "C")
	f.Add("idleTimeout", "1h")
	f.Fuzz(func(t *testing.T, key, value string) {
		c, err := FromMetadata(map[string]string{key: value})
		if err == nil {
			if c.validate() != nil || c.MaxBytes < 1 || c.MaxQueue < 1 || c.IdleTimeout <= 0 {
				t.Errorf("%q %q is not valid: %+v", key, value, c)
			}
		} else if len(err.Error()) > 4000 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	})
}
