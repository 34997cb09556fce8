package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	t.Parallel()

	const failure = `{"Action":"output","Package":"m/a","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"    a_test.go:3: no good\n"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a","Elapsed":0.1}
`

	for _, c := range []struct {
		name, in, want string
		ok             bool
	}{
		{
			name: "passed tests say nothing",
			in: `{"Action":"output","Package":"m/a","Test":"TestGood","Output":"noise\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood","Elapsed":0}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.1s\n"}
{"Action":"pass","Package":"m/a","Elapsed":0.1}
`,
			want: "ok  \tm/a\t0.1s\n", ok: true,
		},
		{
			name: "failed tests say all",
			in:   failure,
			want: "=== RUN   TestBad\n    a_test.go:3: no good\n--- FAIL: TestBad (0.00s)\nFAIL\nFAIL\tm/a\t0.1s\n",
		},
		{
			name: "a panic fails the package, and what the test said is shown",
			in: `{"Action":"output","Package":"m/a","Test":"TestPanic","Output":"panic: oh\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a","Elapsed":0.1}
`,
			want: "FAIL\tm/a\t0.1s\npanic: oh\n",
		},
		{
			name: "skipped tests are listed with their reason",
			in: `{"Action":"output","Package":"m/a","Test":"TestDB","Output":"=== RUN   TestDB\n"}
{"Action":"output","Package":"m/a","Test":"TestDB","Output":"    a_test.go:9: no PostgreSQL here\n"}
{"Action":"output","Package":"m/a","Test":"TestDB","Output":"--- SKIP: TestDB (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestDB","Elapsed":0}
{"Action":"pass","Package":"m/a","Elapsed":0.1}
`,
			want: "\nSkipped:\n  m/a TestDB: a_test.go:9: no PostgreSQL here\n", ok: true,
		},
		{
			name: "what does not compile fails",
			in: `{"ImportPath":"m/a","Action":"build-output","Output":"a.go:1:1: expected 'package'\n"}
{"ImportPath":"m/a","Action":"build-fail"}
`,
			want: "a.go:1:1: expected 'package'\n",
		},
		{name: "nothing at all fails", in: "", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()

			var out strings.Builder

			ok, err := summarize(strings.NewReader(c.in), &out)
			if err != nil {
				t.Fatal(err)
			}

			if ok != c.ok || out.String() != c.want {
				t.Errorf("got ok %t and %q, want ok %t and %q", ok, out.String(), c.ok, c.want)
			}
		})
	}
}
