package profile

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"sigs.k8s.io/yaml"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

func ada() *Profile {
	return &Profile{Name: "Ada", Email: "ada@example.org", Languages: []string{"en", "fr"}}
}

// stored is ada as it was written.
func stored(revision int64) *Profile {
	p := ada()
	p.Id, p.Revision = "ada", revision
	return p
}

func same(t *testing.T, got, want *Profile) {
	t.Helper()
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, Entity, "ada")
	same(t, sdktest.Do(h, PutProfile, ada()).Reply, stored(1))
	h.Reopen()
	renamed := stored(2)
	renamed.Name = "Countess"
	same(t, sdktest.Do(h, RenameProfile, &RenameProfileRequest{Name: "Countess"}).Reply, renamed)
	same(t, sdktest.Do(h, GetProfile, &GetProfileRequest{}).Reply, renamed)
	sdktest.Do(h, DeleteProfile, &DeleteProfileRequest{})
	if err := sdktest.Do(h, GetProfile, &GetProfileRequest{}).Err; sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("get of a deleted profile: %v", err)
	}
	sdktest.Do(h, DeleteProfile, &DeleteProfileRequest{})
	same(t, sdktest.Do(h, PutProfile, ada()).Reply, stored(4))
	if want := []string{"updated", "updated", "deleted", "updated"}; !slices.Equal(h.Journal(), want) {
		t.Errorf("journal = %v, want %v", h.Journal(), want)
	}
}

func TestIDAndRevisionAreTheEntitys(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, Entity, "ada")
	in := ada()
	in.Id, in.Revision = "somebody else", 99
	same(t, sdktest.Do(h, PutProfile, in).Reply, stored(1))
	got, exists := sdktest.Value[*Profile](h)
	if !exists {
		t.Fatal("there is no value")
	}
	same(t, got, stored(1))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	put := func(change func(*Profile)) func(*sdktest.Harness) error {
		return func(h *sdktest.Harness) error {
			p := ada()
			change(p)
			return sdktest.Do(h, PutProfile, p).Err
		}
	}
	rename := func(name string) func(*sdktest.Harness) error {
		return func(h *sdktest.Harness) error {
			return sdktest.Do(h, RenameProfile, &RenameProfileRequest{Name: name}).Err
		}
	}
	get := func(h *sdktest.Harness) error { return sdktest.Do(h, GetProfile, &GetProfileRequest{}).Err }
	past := []any{stored(1)}
	tests := []struct {
		name  string
		given []any
		do    func(*sdktest.Harness) error
		code  sdk.Code
		text  string
	}{
		{"get nothing", nil, get, sdk.CodeNotFound, `there is no profile "ada"`},
		{"get what is deleted", []any{stored(1), nil}, get, sdk.CodeNotFound, `there is no profile "ada"`},
		{"rename nothing", nil, rename("A"), sdk.CodeNotFound, `there is no profile "ada"`},
		{"rename to nothing", past, rename(""), sdk.CodeInvalidArgument, "the name is missing"},
		{"no name", past, put(func(p *Profile) { p.Name = "" }), sdk.CodeInvalidArgument, "the name is missing"},
		{"no address", past, put(func(p *Profile) { p.Email = "ada" }), sdk.CodeInvalidArgument, "the email is not an address such as ada@example.org"},
		{"more than an address", past, put(func(p *Profile) { p.Email = "Ada <ada@example.org>" }), sdk.CodeInvalidArgument, "the email is not an address such as ada@example.org"},
		{"too many languages", past, put(func(p *Profile) { p.Languages = make([]string, maxLanguages+1) }), sdk.CodeOutOfRange, "the profile has 21 languages, want 20 at most"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, Entity, "ada")
			h.Given(test.given...)
			err := test.do(h)
			if sdk.CodeOf(err) != test.code || err.Error() != test.text {
				t.Errorf("error = %v %v, want %v %s", sdk.CodeOf(err), err, test.code, test.text)
			}
			if n := len(h.Journal()); n != len(test.given) {
				t.Errorf("the journal has %d events, want %d", n, len(test.given))
			}
		})
	}
}

func TestLimitIsReachable(t *testing.T) {
	t.Parallel()
	p := ada()
	p.Languages = make([]string, maxLanguages)
	if err := sdktest.Do(sdktest.New(t, Entity, "ada"), PutProfile, p).Err; err != nil {
		t.Error(err)
	}
}

// TestFiles: the resources fit the program and the README.
func TestFiles(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("resources/entities.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var component struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Type, Version string
			Metadata      []struct{ Name, Value string }
		}
	}
	if err := yaml.UnmarshalStrict(b, &component); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, m := range component.Spec.Metadata {
		settings[m.Name] = m.Value
	}
	if settings["userFunction"] != sdk.Address() {
		t.Errorf("the component looks for profiles at %s, which are served at %s", settings["userFunction"], sdk.Address())
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if gateway := "http://" + settings["gatewayAddress"] + "/"; !strings.Contains(string(readme), gateway) {
		t.Errorf("the README does not call %s", gateway)
	}
}
