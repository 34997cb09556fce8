package gateway

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		template, path string
		captures       []string // nil: no match
	}{
		{"/foo", "/foo", []string{}},
		{"/foo", "/bar", nil},
		{"/foo", "/foo/", nil},
		{"/", "/", []string{}},
		{"/foo/{bar}/baz", "/foo/blah/baz", []string{"blah"}},
		{"/foo/{bar}/baz", "/foo", nil},
		{"/foo/{bar}/baz", "/foo/bl/ah/baz", nil},
		{"/foo/{bar}/baz", "/foo//baz", []string{""}},
		{"/foo/{bar}/baz/{other}", "/foo/blah/baz/blah2", []string{"blah", "blah2"}},
		{"/foo/{bar=*/a/*}/baz", "/foo/bl/a/h/baz", []string{"bl/a/h"}},
		{"/foo/{bar=*/a/*}/baz", "/foo/blah/baz", nil},
		{"/foo/{bar=**}", "/foo/blah/baz", []string{"blah/baz"}},
		{"/foo/{bar=**}", "/foo/", []string{""}},
		{"/foo/{bar=**}", "/foo", nil},
		{"/foo/{bar}:watch", "/foo/blah:watch", []string{"blah"}},
		{"/foo/{bar}:watch", "/foo/blah", nil},
		{"/foo/{bar=**}:watch", "/foo/a/b:watch", []string{"a/b"}},
		{"/foo:watch", "/foo:watch", []string{}},
		{"/foo/{bar}", "/foo/a:b", []string{"a:b"}},
		{"/foo/{bar}", "/foo/a%2Fb%20c", []string{"a/b c"}},
		{"/foo/{bar}", "/foo/a%252Fb", []string{"a%2Fb"}},
		{"/foo/{bar}", "/foo/a+b", []string{"a+b"}},
		{"/foo/{bar}", "/foo/a%zz", nil},
		{"/f%20o", "/f%20o", []string{}},
		{"/*/x", "/anything/x", []string{}},
		{"/{a.b.c}", "/1", []string{"1"}},
	} {
		template, err := parseTemplate(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		var got []string
		if path, ok := splitPath(c.path); ok && template.match(path) {
			got = []string{}
			for _, v := range template.variables {
				got = append(got, template.capture(v, path))
			}
		}
		if diff := cmp.Diff(c.captures, got); diff != "" {
			t.Errorf("%s on %s: %s", c.template, c.path, diff)
		}
	}
}

func TestTemplateErrorColumns(t *testing.T) {
	t.Parallel()
	for template, column := range map[string]int{
		"/foo/{bar={baz}}":                     11,
		"foo":                                  1,
		"":                                     1,
		"/foo/{bar*}":                          10,
		"/foo/{bar":                            10,
		"/f*o":                                 3,
		"/foo/{bar=ba*}":                       13,
		"/{duplicated}/{duplicated}":           16,
		"/**/a":                                5,
		"/{a=**}/b":                            9,
		"/{a=**}/{b}":                          10,
		"/a:":                                  4,
		"/a:b/c":                               5,
		"/***":                                 4,
		"/*a":                                  3,
		"/{}":                                  3,
		"/{a..b}":                              5,
		"/{1a}":                                3,
		"/{a}b":                                5,
		"/{a=b":                                6,
		"/a}":                                  3,
		"/a b":                                 3,
		"/%zz":                                 2,
		"/" + strings.Repeat("a", maxTemplate): maxTemplate + 1,
	} {
		_, err := parseTemplate(template)
		wrong, ok := errors.AsType[*templateError](err)
		if !ok || wrong.Column != column {
			t.Errorf("%.40q: got %v, want an error at column %d", template, err, column)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/foo/{bar=*/a/*}/baz:verb", "/{a.b=**}", "/**", "/f*o", "{", "/%41:x"} {
		f.Add(s, "/foo/x/a/y/baz:verb")
	}
	f.Fuzz(func(t *testing.T, text, request string) {
		template, err := parseTemplate(text)
		if err != nil {
			if wrong, ok := errors.AsType[*templateError](err); !ok || wrong.Column < 1 || wrong.Column > len(text)+1 {
				t.Fatalf("the error of %q is %v", text, err)
			}
			return
		}
		path, ok := splitPath(request)
		if !ok || !template.match(path) {
			return
		}
		for _, v := range template.variables {
			template.capture(v, path)
		}
	})
}
