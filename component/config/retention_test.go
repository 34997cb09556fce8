package config

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	c, err := FromMetadata(map[string]string{
		"appId": "shop", "retention": "count=10, age=720h", "retention.cart-": "age=1m30s", "Retention.Cart-": "count=1",
		"retention.cart-old-": "off", "retention.Counter||": "count=1000000000,age=1s", "retentionInterval": "10m",
	})
	if err != nil {
		t.Fatal(err)
	}
	month := 720 * time.Hour
	want := []Retention{
		{"Counter||", 1_000_000_000, time.Second}, {Prefix: "cart-old-"}, {"Cart-", 1, 0}, {"cart-", 0, 90 * time.Second}, {"", 10, month},
	}
	if diff := cmp.Diff(want, c.Retention); diff != "" || c.RetentionInterval != 10*time.Minute || !c.Retains() {
		t.Error(diff, c.RetentionInterval)
	}
	for key, want := range map[string]Retention{
		"cart-1": {"cart-", 0, 90 * time.Second}, "cart-old-1": {}, "Cart-1": {"Cart-", 1, 0}, "": {"", 10, month},
		"Counter||a||b": {"Counter||", 1_000_000_000, time.Second}, "Counter": {"", 10, month},
	} {
		if got, ok := c.RetentionOf(key); ok != (want != Retention{}) || ok && got != want {
			t.Errorf("%q: %v, %v", key, got, ok)
		}
	}
	for _, r := range c.Retention {
		again := Config{}
		if err := parseRetention(&again, r.Prefix, r.String()); err != nil || again.Retention[0] != r {
			t.Errorf("%s: %v, %v", r, again.Retention, err)
		}
	}
	none, err := FromMetadata(map[string]string{"retention": "", "retention.a": "off"})
	if _, ok := none.RetentionOf("a"); err != nil || ok || none.Retains() {
		t.Errorf("%v, %v", none.Retention, err)
	}
}

func TestRetentionProblems(t *testing.T) {
	t.Parallel()
	for value, problem := range map[string]string{
		"10": "such as count=10", "count": "whole number", "count=0": "whole number", "count=1000000001": "whole number",
		"count=1,count=2": "such as", "age=30d": "no days", "age=999ms": "at least 1s", "age=-1h": "at least", "age=1h,off": "such as",
		"count=10;age=1h": "whole number", "never": "such as",
	} {
		for _, name := range []string{"retention", "retention.a"} {
			_, err := FromMetadata(map[string]string{"appId": "shop", name: value})
			if err == nil || !strings.Contains(err.Error(), problem) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
	if _, err := FromMetadata(map[string]string{"appId": "shop", "retention.a": ""}); err == nil {
		t.Error("a prefix without a rule")
	}
	for problem, m := range map[string]map[string]string{
		"needs appId":          {},
		"keyPrefix: namespace": {"appId": "shop", "keyPrefix": "Namespace"},
	} {
		maps.Copy(m, map[string]string{"retention": "count=1"})
		if _, err := FromMetadata(m); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v: %v", m, err)
		}
		m["retention"] = "off"
		if _, err := FromMetadata(m); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
}

func TestKeySpaces(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string][]string{
		"": {"shop||"}, "appid": {"shop||"}, "AppID": {"shop||"}, "name": {"shop||", "store||"}, "none": {"", "shop||"},
		"Shared": {"shared||", "shop||"}, "shop": {"shop||"},
	} {
		c, err := FromMetadata(map[string]string{"appId": "shop", "keyPrefix": prefix})
		if err != nil {
			t.Fatal(err)
		}
		c.Name = "store"
		if diff := cmp.Diff(want, c.KeySpaces()); diff != "" {
			t.Errorf("%q: %s", prefix, diff)
		}
	}
}

// What was understood is understood again as it is written then.
func FuzzRetention(f *testing.F) {
	for _, seed := range []string{"", "off", "count=10", "age=720h", "count=10,age=1h30m", " count=1 , age=1s", "count=1,", "age=9999999h", "=,=", "count=-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		var c, again Config
		if err := parseRetention(&c, "a", value); err != nil {
			return
		}
		r := c.Retention[0]
		if err := parseRetention(&again, "a", r.String()); err != nil || again.Retention[0] != r || r.Count < 0 || r.Age < 0 {
			t.Errorf("%q: %+v, %v", value, r, err)
		}
	})
}
