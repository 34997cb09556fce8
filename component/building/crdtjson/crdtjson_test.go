package crdtjson

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/crdt"
)

// say applies operations to a new value and returns what it is then.
func say(t *testing.T, k crdt.Kind, operations ...string) string {
	t.Helper()
	e, w := crdt.New(0), &crdt.Writer{Slot: 1, Epoch: 1}
	for _, o := range operations {
		u, err := Parse(k, []byte(o))
		if err != nil {
			t.Fatalf("%s: %v", o, err)
		}
		if err := e.Fits(u); err != nil {
			t.Fatalf("%s: %v", o, err)
		}
		if _, _, err := e.Apply(w, u, nil, nil); err != nil {
			t.Fatalf("%s: %v", o, err)
		}
	}
	return string(Render(e.Value(&crdt.Members{Self: crdt.Member{Slot: 1, Epoch: 1}, Live: []crdt.Member{{Slot: 1, Epoch: 1}, {Slot: 2, Epoch: 1}}})))
}

func TestOperations(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name       string
		kind       crdt.Kind
		operations []string
		want       string
	}{
		{"gcounter", crdt.GCounter, []string{`{"increment": 2}`, `{"increment":40}`, ` {"increment":0} `}, `42`},
		{"gcounter, large", crdt.GCounter, []string{`{"increment":18446744073709551615}`}, `18446744073709551615`},
		{"gcounter, zero", crdt.GCounter, []string{`{"increment":0}`}, `0`},
		{"pncounter", crdt.PNCounter, []string{`{"increment":2}`, `{"decrement":5}`}, `-3`},
		{"gset", crdt.GSet, []string{`{"add":["b","a","b"]}`, `{"add":[]}`, `{"add":["a","c"]}`}, `["a","b","c"]`},
		{"gset, empty", crdt.GSet, []string{`{"add":[]}`}, `[]`},
		{"orset", crdt.ORSet, []string{`{"add":["a","b"]}`, `{"add":["c"],"remove":["a","x"]}`}, `["b","c"]`},
		{"orset, cleared", crdt.ORSet, []string{`{"add":["a","b"]}`, `{"clear":true,"add":["a"]}`}, `["a"]`},
		{
			"elements in order", crdt.GSet,
			[]string{`{"add":["10","9",10,9,-1,1.5,1e30,100000000000000000000000000000000,true,false,null,["x"],{"b":1,"a":2},"ä","<&>"]}`},
			`[null,false,true,-1,1.5,9,10,1e+30,100000000000000000000000000000000,"10","9","<&>","ä",["x"],{"a":2,"b":1}]`,
		},
		{
			"elements that are the same", crdt.GSet,
			[]string{`{"add":["\u0061", "a", 1, 1.0, 1e0, 10E-1, -0, 0, 0.0, -0.0, {"a":1,"b":[1, 2]}, {"b":[1.0,2],"a":1}, 0.10, 1e-1, 1e20, 100000000000000000000]}`},
			`[0,0.1,1,100000000000000000000,"a",{"a":1,"b":[1,2]}]`,
		},
		{"elements that are not", crdt.GSet, []string{`{"add":[9007199254740992, 9007199254740993, "1", 1]}`}, `[1,9007199254740992,9007199254740993,"1"]`},
		{"register", crdt.LWWRegister, []string{`{"set": "a"}`, `{"set": {"b": 1.0, "a": [1, 2]}}`}, `{"b":1.0,"a":[1,2]}`},
		{"register, whole", crdt.LWWRegister, []string{`"a"`, ` {"name": "<Ada>", "set": 1} `}, `{"name":"<Ada>","set":1}`},
		{"register, a set in it", crdt.LWWRegister, []string{`{"set": {"set": 1}}`}, `{"set":1}`},
		{"register, empty object", crdt.LWWRegister, []string{`{}`}, `{}`},
		{"register, null", crdt.LWWRegister, []string{`1`, `{"set":null}`}, `null`},
		{"flag", crdt.Flag, []string{`{"enable":true}`}, `true`},
		{"flag, whole", crdt.Flag, []string{`true`, `true`}, `true`},
		{"vote", crdt.Vote, []string{`{"vote":true}`}, `{"for":1,"total":2,"self":true}`},
		{"vote, whole", crdt.Vote, []string{`true`, `false`}, `{"for":0,"total":2,"self":false}`},
		{
			"map", crdt.ORMap,
			[]string{`{"put":{"likes":{"increment":2},"tags":{"add":["b","a"]},"name":{"set":{"a": 1}},"on":{"enable":true},"sub":{"put":{"x":{"decrement":1}}},"ayes":{"vote":true}}}`},
			`{"ayes":{"for":1,"total":2,"self":true},"likes":2,"name":{"a":1},"on":true,"sub":{"x":-1},"tags":["a","b"]}`,
		},
		{
			"map, later", crdt.ORMap,
			[]string{
				`{"put":{"likes":{"increment":2},"old":{"set":1},"tags":{"add":["a","b"]}}}`,
				`{"put":{"likes":{"decrement":1},"tags":{"remove":["a"],"add":["c"]}},"remove":["old","none"]}`,
				`{"put":{"tags":{"type":"orset","remove":["b"]},"seen":{"type":"gset","add":[1]},"n":{"type":"gcounter","increment":3}}}`,
			},
			`{"likes":1,"n":3,"seen":[1],"tags":["c"]}`,
		},
		{
			"map, another kind", crdt.ORMap,
			[]string{`{"put":{"k":{"add":["a"]}}}`, `{"remove":["k"],"put":{"k":{"increment":1}}}`},
			`{"k":1}`,
		},
		{"map, cleared", crdt.ORMap, []string{`{"put":{"k":{"add":["a"]}}}`, `{"clear":true}`}, `{}`},
		{"map, strange keys", crdt.ORMap, []string{`{"put":{"":{"set":1},"<\"\u0007":{"set":2}}}`}, `{"":1,"<\"\u0007":2}`},
		{"map, empty entries", crdt.ORMap, []string{`{"put":{"a":{"add":[]},"b":{"put":{}},"c":{"increment":0}}}`}, `{"a":[],"b":{},"c":0}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			if got := say(t, x.kind, x.operations...); got != x.want {
				t.Errorf("got  %s\nwant %s", got, x.want)
			}
		})
	}
}

func TestBadOperations(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"put":{"k":`, 9) + `{"set":1}` + strings.Repeat("}}", 9)
	for _, x := range []struct {
		kind      crdt.Kind
		operation string
		want      string
	}{
		{crdt.GCounter, ``, "it is empty"},
		{crdt.GCounter, `{"increment":2`, "byte 14 of 14"},
		{crdt.GCounter, `{"increment":2} {}`, "it is not JSON"},
		{crdt.GCounter, "{\"incre\xffment\":2}", "not valid UTF-8"},
		{crdt.GCounter, `2`, `a gcounter takes an operation, not a number: write {"increment": 2}`},
		{crdt.GCounter, `{}`, "there is no operation on the gcounter"},
		{crdt.GCounter, `{"decrement":2}`, `"decrement" is no operation on a gcounter`},
		{crdt.GCounter, `{"increment":-2}`, "not negative"},
		{crdt.GCounter, `{"increment":2.0}`, "whole number"},
		{crdt.GCounter, `{"increment":"2"}`, "whole number"},
		{crdt.GCounter, `{"increment":18446744073709551616}`, "up to 18446744073709551615"},
		{crdt.GCounter, `{"increment":1,"increment":2}`, `"increment" stands twice`},
		{crdt.PNCounter, `{"increment":9223372036854775808}`, "up to 9223372036854775807"},
		{crdt.PNCounter, `{"increment":1,"decrement":1}`, "exclude each other"},
		{crdt.PNCounter, `7`, "not a number"},
		{crdt.GSet, `["a"]`, "not an array"},
		{crdt.GSet, `{"remove":["a"]}`, `"remove" is no operation on a gset`},
		{crdt.GSet, `{"add":"a"}`, "add: write an array, not a string"},
		{crdt.GSet, `{"add":[{"a":1,"a":2}]}`, "stands twice"},
		{crdt.GSet, `{"add":[1e400]}`, "64-bit"},
		{crdt.GSet, strings.Repeat("[", 70) + strings.Repeat("]", 70), "more than 64"},
		{crdt.ORSet, `{"add":[1],"remove":[1.0]}`, "in add and in remove"},
		{crdt.ORSet, `{"clear":false}`, "clear: write true"},
		{crdt.ORSet, `{"clear":"true"}`, "clear: write true"},
		{crdt.Flag, `false`, "stays on"},
		{crdt.Flag, `{"enable":false}`, "stays on"},
		{crdt.Flag, `{"enable":1}`, "write true or false, not a number"},
		{crdt.Flag, `null`, "not null"},
		{crdt.Vote, `{"vote":"yes"}`, "vote: write true or false"},
		{crdt.ORMap, `{"put":["a"]}`, "put: write an object"},
		{crdt.ORMap, `{"remove":[1]}`, "the keys of a map are strings"},
		{crdt.ORMap, `{"put":{"k":1}}`, `put: "k": a map's entry takes an operation, not a number`},
		{crdt.ORMap, `{"put":{"k":{}}}`, "no operation that it would be of"},
		{crdt.ORMap, `{"put":{"k":{"hop":1}}}`, "no operation that it would be of"},
		{crdt.ORMap, `{"put":{"k":{"remove":["a"]}}}`, `add "type": "orset" or "type": "ormap"`},
		{crdt.ORMap, `{"put":{"k":{"type":"set","add":[1]}}}`, "the type is none of gcounter, pncounter, gset,"},
		{crdt.ORMap, `{"put":{"k":{"type":"orset"}}}`, "there is no operation on the orset"},
		{crdt.ORMap, `{"put":{"k":{"add":[1],"put":{}}}}`, `"put" is no operation on a orset`},
		{crdt.ORMap, deep, "more than 8 maps"},
	} {
		_, err := Parse(x.kind, []byte(x.operation))
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v\ndoes not say: %s", x.operation, err, x.want)
		}
	}
	if _, err := Parse(crdt.GCounter, []byte(`{"a `+strings.Repeat("x", 500)+`":"a secret"}`)); err == nil || len(err.Error()) > 200 || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for k := crdt.GCounter; k <= crdt.Vote; k++ {
		if Kind(Name(k)) != k || Name(k) != strings.ToLower(k.String()) {
			t.Errorf("%v is %q", k, Name(k))
		}
		// The examples of the errors are right.
		for _, example := range types[k].examples {
			if _, err := Parse(k, []byte(example)); err != nil {
				t.Errorf("%s: %v", example, err)
			}
		}
	}
	if Kind("") != 0 || Kind("set") != 0 {
		t.Error("there are kinds without a name")
	}
}

// Whatever is written: an error, or a value that is JSON, and the same operation on a value that it fits.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"increment":2}`, `{"decrement":2}`, `{"add":["a",1,1.0,{"b":[null]}],"remove":["c"],"clear":true}`, `{"set":{"a": 1e3}}`, `true`, `"x"`,
		`{"vote":false}`, `{"enable":true}`, `{"put":{"k":{"type":"gset","add":["\ud800"]},"l":{"put":{"m":{"increment":1}}}},"remove":["n"]}`,
		`{"put":{"k":{"increment":1}}`, "\xff", `[[[`, `1e999`, `-0.0`,
	} {
		for k := crdt.GCounter; k <= crdt.Vote; k++ {
			f.Add(uint8(k), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		k := crdt.Kind(kind%8) + crdt.GCounter
		u, err := Parse(k, data)
		if err != nil {
			return
		}
		e, w := crdt.New(0), &crdt.Writer{Slot: 1, Epoch: 1}
		for range 2 {
			if err := e.Fits(u); err != nil {
				t.Fatalf("%s does not fit what it made: %v", data, err)
			}
			if _, _, err := e.Apply(w, u, nil, nil); err != nil {
				return // too large
			}
		}
		got := Render(e.Value(nil))
		if !json.Valid(got) {
			t.Fatalf("%s became %s", data, got)
		}
		v, err := decode(got)
		if err != nil {
			if !strings.Contains(err.Error(), "twice") && !strings.Contains(err.Error(), "64") { // a register takes any JSON
				t.Fatalf("%s became %s: %v", data, got, err)
			}
			return
		}
		once := v.append(nil)
		again, err := decode(once)
		if err != nil || string(again.append(nil)) != string(once) {
			t.Fatalf("%s is not canonical: %v", once, err)
		}
	})
}

// What docs/crdt-keys.md shows is what is taken, and what comes of it.
func TestDocumented(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../../docs/crdt-keys.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		name := code.FindStringSubmatch(cells[1])
		if name == nil || Kind(name[1]) == 0 {
			continue
		}
		seen++
		k := Kind(name[1])
		for _, column := range cells[2:4] {
			for _, o := range code.FindAllStringSubmatch(column, -1) {
				if o[1] == "set" { // the word
					continue
				}
				if _, err := Parse(k, []byte(o[1])); err != nil {
					t.Errorf("%s: %s: %v", name[1], o[1], err)
				}
			}
		}
		if shown := code.FindStringSubmatch(cells[4]); k != crdt.Vote && !json.Valid([]byte(shown[1])) {
			t.Errorf("%s shows %s", name[1], shown[1])
		}
	}
	if seen != 8 {
		t.Errorf("%d types are documented", seen)
	}
	_, block, _ := strings.Cut(string(data), "      {\"put\": {\"seen\"")
	block, _, _ = strings.Cut(`{"put": {"seen"`+block, "\n")
	if _, err := Parse(crdt.ORMap, []byte(block)); err != nil {
		t.Errorf("%s: %v", block, err)
	}
}
