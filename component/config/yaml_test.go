package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the settings into components-yaml/metadata")

const folder = "../../components-yaml"

// component is what the tests read of a component's YAML.
type component struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Type     string `json:"type"`
		Version  string `json:"version"`
		Metadata []struct {
			Name         string `json:"name"`
			Value        string `json:"value"`
			SecretKeyRef *struct {
				Name string `json:"name"`
				Key  string `json:"key"`
			} `json:"secretKeyRef"`
		} `json:"metadata"`
	} `json:"spec"`
	Auth struct {
		SecretStore string `json:"secretStore"`
	} `json:"auth"`
}

func TestComponentFiles(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(folder + "/*/*.yaml")
	hosts, named, pubsubs := map[string]string{}, map[string]string{}, map[string]string{}
	journals, stores := map[string]string{}, map[string]string{}
	for _, file := range files {
		if strings.HasPrefix(file, folder+"/metadata/") {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("\n---")) {
			t.Errorf("%s: one component a file", file)
		}
		var c component
		if err := yaml.UnmarshalStrict(data, &c); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if c.APIVersion != "dapr.io/v1alpha1" || c.Kind != "Component" || c.Metadata.Name == "" || c.Spec.Version != "v1" {
			t.Errorf("%s is not a component: %+v", file, c)
		}
		values := map[string]string{}
		for _, m := range c.Spec.Metadata {
			if (m.Value == "") == (m.SecretKeyRef == nil) {
				t.Errorf("%s: %s needs either a value or a secretKeyRef", file, m.Name)
			}
			if values[m.Name] = m.Value; m.SecretKeyRef != nil {
				values[m.Name] = "postgres://u:p@h/d"
			}
		}
		var resolved Config
		switch c.Spec.Type {
		case "state.entities":
			resolved, err = FromMetadata(values)
			hosts[filepath.Base(filepath.Dir(file))] = resolved.Journal.Scheme
			if resolved.Journal.Scheme == "dapr" {
				store := string(resolved.Journal.Source)
				journals[filepath.Join(filepath.Dir(file), store+".yaml")] = store
			}
			if values["actorStateStore"] != "true" {
				t.Errorf("%s: the sidecar hosts no actors without an actorStateStore", file)
			}
			if r := resolved.Replication; r.Transport == TransportPubsub {
				named[file] = filepath.Join(filepath.Dir(file), r.Pubsub+".yaml")
			}
		case "bindings.entities":
			_, err = Resolve(Binding, values)
		case "pubsub.entities":
			_, err = Resolve(PubSub, values)
		case "state.redis":
			stores[file] = c.Metadata.Name
		case "pubsub.redis":
			pubsubs[file] = c.Metadata.Name
			// Otherwise the nodes of an app take messages away from each other, and a new one is sent all there ever were.
			if values["consumerID"] != "{uuid}" || values["maxLenApprox"] == "" {
				t.Errorf("%s: replication needs a consumerID of {uuid} and a maxLenApprox", file)
			}
		default:
			t.Errorf("%s has the type %s", file, c.Spec.Type)
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if diff := cmp.Diff(map[string]string{"sqlite": "sqlite", "postgres": "postgres", "memory": "memory", "redis": "postgres", "statestore": "dapr"}, hosts); diff != "" {
		t.Errorf("folders and journals: %s", diff)
	}
	if diff := cmp.Diff(journals, stores); diff != "" {
		t.Errorf("state stores that are journals, and those that there are: %s", diff)
	}
	for file, other := range named {
		if name := pubsubs[other]; name+".yaml" != filepath.Base(other) {
			t.Errorf("%s names the pub/sub component of %s, which is %q", file, other, name)
		}
	}
	if len(named) != len(pubsubs) || len(named) == 0 {
		t.Errorf("components that replicate by pub/sub: %v, pub/sub components: %v", named, pubsubs)
	}
}

// The types follow component-metadata-schema.json of dapr/components-contrib, whose objects allow nothing else.
type description struct {
	SchemaVersion string                `json:"schemaVersion"`
	Type          string                `json:"type"`
	Name          string                `json:"name"`
	Version       string                `json:"version"`
	Status        string                `json:"status"`
	Title         string                `json:"title"`
	Description   string                `json:"description"`
	URLs          []map[string]string   `json:"urls"`
	Capabilities  []string              `json:"capabilities,omitempty"`
	Binding       *bindingDescription   `json:"binding,omitempty"`
	Metadata      []metadataDescription `json:"metadata"`
}

type bindingDescription struct {
	Input      bool                `json:"input"`
	Output     bool                `json:"output"`
	Operations []map[string]string `json:"operations"`
}

type metadataDescription struct {
	Name          string   `json:"name"`
	Description   string   `json:"description"`
	Required      *bool    `json:"required"`
	Type          string   `json:"type"`
	Sensitive     bool     `json:"sensitive,omitempty"`
	Default       string   `json:"default,omitempty"`
	Example       string   `json:"example"`
	AllowedValues []string `json:"allowedValues,omitempty"`
}

func TestDescriptions(t *testing.T) {
	t.Parallel()
	for file, scope := range map[string]Scope{"state.entities.yaml": State, "bindings.entities.yaml": Binding, "pubsub.entities.yaml": PubSub} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(folder, "metadata", file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				head, _, ok := bytes.Cut(data, []byte("\nmetadata:\n"))
				if !ok {
					t.Fatal("no line says metadata:")
				}
				data = append(head, "\nmetadata:\n"+describe(scope)...)
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var d description
			if err := yaml.UnmarshalStrict(data, &d); err != nil {
				t.Fatal(err)
			}
			kind, name, _ := strings.Cut(strings.TrimSuffix(file, ".yaml"), ".")
			if d.SchemaVersion != "v1" || d.Type != kind || d.Name != name || d.Version != "v1" || d.Title == "" ||
				!slices.Contains([]string{"alpha", "beta", "stable"}, d.Status) || len(d.URLs) == 0 {
				t.Errorf("the head is wrong: %+v", d)
			}
			for _, u := range d.URLs {
				if u["title"] == "" || !strings.HasPrefix(u["url"], "https://") || len(u) != 2 {
					t.Errorf("wrong url: %v", u)
				}
			}
			if (d.Binding != nil) != (kind == "bindings") {
				t.Error("the binding part belongs to bindings")
			}
			if d.Binding != nil {
				for _, o := range d.Binding.Operations {
					if o["name"] == "" || o["description"] == "" || len(o) != 2 {
						t.Errorf("wrong operation: %v", o)
					}
				}
			}
			var want []metadataDescription
			no := false
			for _, s := range documented(scope) {
				want = append(want, metadataDescription{
					Name: s.shown(), Description: s.Meaning, Required: &no, Type: s.Type, Sensitive: s.Sensitive,
					Default: s.Default, Example: s.Example, AllowedValues: s.Allowed,
				})
			}
			if diff := cmp.Diff(want, d.Metadata); diff != "" {
				t.Errorf("go test ./component/config -update writes what the table says: %s", diff)
			}
		})
	}
}

// documented leaves the sidecar's own settings out, as the schema asks.
func documented(scope Scope) []Setting {
	return slices.DeleteFunc(Settings(scope), func(s Setting) bool { return s.Dapr })
}

func describe(scope Scope) string {
	var b strings.Builder
	for _, s := range documented(scope) {
		fmt.Fprintf(&b, "  - name: %s\n    type: %s\n    required: false\n    description: %q\n    example: %q\n",
			s.shown(), s.Type, s.Meaning, s.Example)
		if s.Default != "" {
			fmt.Fprintf(&b, "    default: %q\n", s.Default)
		}
		if s.Sensitive {
			b.WriteString("    sensitive: true\n")
		}
		if len(s.Allowed) > 0 {
			b.WriteString("    allowedValues:\n")
			for _, a := range s.Allowed {
				fmt.Fprintf(&b, "      - %q\n", a)
			}
		}
	}
	return b.String()
}

// TestTable holds the table to what it promises: complete rows, and examples and allowed values that are taken.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range settings {
		if lower := strings.ToLower(s.Name); seen[lower] {
			t.Errorf("%s stands twice", s.Name)
		} else {
			seen[lower] = true
		}
		if s.Prefix() != (s.Rest != "") || s.Meaning == "" || s.Example == "" || s.Scope == 0 || !strings.HasSuffix(s.Meaning, ".") ||
			!slices.Contains([]string{"string", "number", "bool", "duration", "bytesize"}, s.Type) {
			t.Errorf("%s is not complete: %+v", s.Name, s)
		}
		if !s.Dapr && s.parse == nil || s.Dapr && s.Scope&Process != 0 {
			t.Errorf("%s: either the sidecar's or ours", s.Name)
		}
		if s.Dapr {
			continue
		}
		values := append([]string{s.Example}, s.Allowed...)
		for _, v := range values {
			var c Config
			suffix := ""
			if name, value, ok := strings.Cut(v, "="); ok && s.Prefix() {
				suffix, v = strings.TrimPrefix(name, s.Name), value
			}
			if err := s.parse(&c, suffix, v); err != nil {
				t.Errorf("%s %q %v", s.Name, v, err)
			}
		}
	}
}
