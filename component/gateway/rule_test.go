package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// ruled is a catalog of one action whose method has that rule.
func ruledSet(rule string) []byte {
	return compileProto(map[string]string{"one.proto": fmt.Sprintf(`syntax = "proto3"; package one;
import "google/api/annotations.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/struct.proto";
enum E { A = 0; }
message In { string s = 1; repeated string many = 2; map<string, string> map = 3; E e = 4; In inner = 5; google.protobuf.Timestamp at = 6; google.protobuf.Struct any = 7; }
service S { rpc M(In) returns (In) { option (google.api.http) = { %s }; } }`, rule)})
}

func TestRuleProblems(t *testing.T) {
	t.Parallel()
	g := &Gateway{}
	for rule, wants := range map[string][]string{
		`selector: "one.S.M" get: "/s/{s}"`:  nil,
		`get: "/s/{e}"`:                      nil,
		`get: "/s/{inner.inner.s}"`:          nil,
		`get: "/s/{at}"`:                     nil,
		`custom { kind: "*" path: "/s" }`:    nil,
		`post: "/s" body: "inner"`:           nil,
		``:                                   {"pattern"},
		`body: "*"`:                          {"pattern"},
		`selector: "other.S.M" get: "/s"`:    {"selector", "other.S.M"},
		`get: "s"`:                           {`GET s`, "column 1"},
		`get: "/{s}/{s}"`:                    {"column 7", "captured twice"},
		`get: "/{nope}"`:                     {"nope"},
		`get: "/{many}"`:                     {"one.In.many", "repeated"},
		`get: "/{map}"`:                      {"one.In.map", "map"},
		`get: "/{inner}"`:                    {"one.In.inner", "message"},
		`get: "/{any}"`:                      {"one.In.any", "message"},
		`get: "/{s.x}"`:                      {"one.In.s"},
		`custom { kind: "LOOK" path: "/s" }`: {"kind", "LOOK"},
		`post: "/s" body: "nope"`:            {"body", "nope"},
		`post: "/s" body: "many"`:            {"body", "repeated"},
		`post: "/s" body: "s"`:               {"body", "no message"},
		`get: "/s" response_body: "nope"`:    {"response_body", "nope"},
		`get: "/{nope}/{many}" body: "gone"`: {"nope", "many", "gone"},
		`get: "/s" additional_bindings { get: "s2" } additional_bindings { put: "/{x}" }`: {"s2", "column 1", "PUT", "{x}"},
		`get: "/s" additional_bindings { get: "/t" additional_bindings { get: "/u" } }`:   {"GET /t", "additional_bindings"},
	} {
		err := g.Check(newCatalog(t, ruledSet(rule), entity(actors.Action, "one.S")))
		if wants == nil {
			if err != nil {
				t.Errorf("%s: %v", rule, err)
			}
			continue
		}
		for _, want := range append(wants, "one.S.M") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", rule, err, want)
			}
		}
	}
}

func TestReservedServices(t *testing.T) {
	t.Parallel()
	c := newCatalog(t, nil, &cloudstate.Entity{
		EntityType: "cloudstate.action.ActionProtocol", ServiceName: healthService, Methods: []*cloudstate.Method{{Name: "Check"}},
	})
	g := start(t, nil)
	if err := g.Update(c); err == nil || !strings.Contains(err.Error(), healthService) {
		t.Errorf("got %v", err)
	}
	if got := g.call(t, "POST", "/shop.v1.Echo/Say", `{}`); got.status != 200 {
		t.Errorf("what was there is served no more: %v", got)
	}
}

// The last one that was declared wins, and one with a verb wins over those that would take the verb for a part of a name.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	set := compileProto(map[string]string{"one.proto": `syntax = "proto3"; package one; import "google/api/annotations.proto";
message In { string s = 1; }
service S {
  rpc First(In) returns (In) { option (google.api.http) = { get: "/x/{s}" additional_bindings { get: "/openapi.json" } }; }
  rpc Verb(In) returns (In) { option (google.api.http) = { get: "/x/{s}:look" }; }
  rpc Last(In) returns (In) { option (google.api.http) = { get: "/x/{s}" }; }
}`})
	if err := r.Update(newCatalog(t, set, entity(actors.Action, "one.S"))); err != nil {
		t.Fatal(err)
	}
	for path, method := range map[string]string{"/x/a": "Last", "/x/a:look": "Verb", "/x/a:b": "Last", "/openapi.json": "First"} {
		if got := r.call(t, "GET", path, ""); got.status != 200 || r.user.last(t).Method != method {
			t.Errorf("%s: got %d by %s, want %s", path, got.status, r.user.last(t).Method, method)
		}
	}
}

// Whatever a user function writes into its options ends in an error or in rules.
func FuzzRule(f *testing.F) {
	f.Add([]byte("\x12\x02/s"))
	f.Add([]byte("\x42\x05\x0a\x01*\x12\x00\x5a\x04\x12\x02/t"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r httpRule
		if err := r.read(data, 0); err != nil {
			return
		}
		_ = r.String()
	})
}
