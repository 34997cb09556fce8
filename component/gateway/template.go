package gateway

import (
	"fmt"
	"net/url"
	"strings"
)

// template is a path of a google.api.http rule: literals, * for one segment, ** for the rest, {field} and
// {field=segments} for what is captured, and :verb at the end.
type template struct {
	text      string
	segments  []segment
	variables []variable
	verb      string
}

type segment struct {
	kind    segmentKind
	literal string
}

type segmentKind uint8

const (
	literal segmentKind = iota
	anyOne
	anyRest
)

// variable captures the segments from first up to end.
type variable struct {
	path       string
	first, end int
}

// templateError says where in a template its mistake is, counted from 1.
type templateError struct {
	Text    string
	Column  int
	Problem string
}

func (e *templateError) Error() string {
	return fmt.Sprintf("the path template %q is wrong at column %d: %s", cut(e.Text), e.Column, e.Problem)
}

// maxTemplate bounds a template, in bytes.
const maxTemplate = 4096

// parseTemplate reads a template. The error is a *templateError.
func parseTemplate(text string) (template, error) {
	p := templateParser{template: template{text: text}}
	if len(text) > maxTemplate {
		return template{}, p.wrong(maxTemplate, "it is longer than %d bytes", maxTemplate)
	}
	err := p.parse()
	return p.template, err
}

type templateParser struct {
	template
	at int
}

func (p *templateParser) wrong(at int, format string, args ...any) error {
	return &templateError{Text: p.text, Column: at + 1, Problem: fmt.Sprintf(format, args...)}
}

func (p *templateParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *templateParser) parse() error {
	if p.peek() != '/' {
		return p.wrong(0, "it must begin with /")
	}
	for p.peek() == '/' {
		p.at++
		if err := p.segment(); err != nil {
			return err
		}
	}
	if p.peek() == ':' {
		p.at++
		start := p.at
		for p.at < len(p.text) {
			if strings.IndexByte("/*{}:", p.text[p.at]) >= 0 {
				return p.wrong(p.at, "a verb cannot contain %q", p.text[p.at])
			}
			p.at++
		}
		if p.verb = p.text[start:]; p.verb == "" {
			return p.wrong(start, "the verb after the colon is empty")
		}
	}
	if p.at < len(p.text) {
		return p.wrong(p.at, "%q does not belong here", p.text[p.at])
	}
	return nil
}

// segment reads a segment outside a variable, or a variable.
func (p *templateParser) segment() error {
	if p.peek() != '{' {
		return p.plain("/:")
	}
	p.at++
	start := p.at
	for p.at < len(p.text) && isFieldByte(p.text[p.at]) {
		p.at++
	}
	v := variable{path: p.text[start:p.at], first: len(p.segments)}
	at := start
	for name := range strings.SplitSeq(v.path, ".") {
		if name == "" || '0' <= name[0] && name[0] <= '9' {
			return p.wrong(at, "here should be the name of a field")
		}
		at += len(name) + 1
	}
	for _, o := range p.variables {
		if o.path == v.path {
			return p.wrong(start, "the field %s is captured twice", v.path)
		}
	}
	if p.peek() == '=' {
		for more := true; more; more = p.peek() == '/' {
			p.at++
			if p.peek() == '{' {
				return p.wrong(p.at, "a variable cannot contain another one")
			}
			if err := p.plain("/}"); err != nil {
				return err
			}
		}
	} else if err := p.add(segment{kind: anyOne}, start); err != nil {
		return err
	}
	switch p.peek() {
	case '}':
		p.at++
	case 0:
		return p.wrong(p.at, "the variable has no closing brace")
	default:
		return p.wrong(p.at, "%q cannot be part of a variable's name; here should be = or a closing brace", p.text[p.at])
	}
	if c := p.peek(); c != 0 && c != '/' && c != ':' {
		return p.wrong(p.at, "a variable is a segment of its own: here should be / or the end")
	}
	v.end = len(p.segments)
	p.variables = append(p.variables, v)
	return nil
}

func isFieldByte(c byte) bool {
	return c == '_' || c == '.' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// plain reads a literal, * or **, up to one of the bytes in end.
func (p *templateParser) plain(end string) error {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte(end, p.text[p.at]) < 0 {
		switch c := p.text[p.at]; {
		case c == '*' && p.at > start && p.text[start] != '*', c == '*' && p.at > start+1:
			return p.wrong(p.at, "* and ** are segments of their own")
		case c != '*' && p.at > start && p.text[start] == '*':
			return p.wrong(p.at, "* and ** are segments of their own")
		case c == '{' || c == '}' || c == ':' || c == '?' || c == '#' || c <= ' ' || c >= 0x7f:
			return p.wrong(p.at, "%q cannot be part of a literal", c)
		}
		p.at++
	}
	switch text := p.text[start:p.at]; text {
	case "*":
		return p.add(segment{kind: anyOne}, start)
	case "**":
		return p.add(segment{kind: anyRest}, start)
	default:
		decoded, err := url.PathUnescape(text)
		if err != nil {
			return p.wrong(start, "a percent sign has no two hexadecimal digits after it")
		}
		return p.add(segment{kind: literal, literal: decoded}, start)
	}
}

func (p *templateParser) add(s segment, at int) error {
	if n := len(p.segments); n > 0 && p.segments[n-1].kind == anyRest {
		return p.wrong(at, "nothing can follow **")
	}
	p.segments = append(p.segments, s)
	return nil
}

// requestPath is the escaped path of a request, taken apart once for all templates.
type requestPath struct{ raw, decoded []string }

func splitPath(escaped string) (requestPath, bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return requestPath{}, false
	}
	p := requestPath{raw: strings.Split(rest, "/")}
	if strings.IndexByte(rest, '%') < 0 {
		p.decoded = p.raw
		return p, true
	}
	p.decoded = make([]string, len(p.raw))
	for i, s := range p.raw {
		d, err := url.PathUnescape(s)
		if err != nil {
			return p, false
		}
		p.decoded[i] = d
	}
	return p, true
}

// match reports whether the path is one of the template's. The last segment loses the verb.
func (t *template) match(p requestPath) bool {
	n := len(t.segments)
	rest := n > 0 && t.segments[n-1].kind == anyRest
	if len(p.raw) != n && (!rest || len(p.raw) < n) {
		return false
	}
	if t.verb != "" && !strings.HasSuffix(p.raw[len(p.raw)-1], ":"+t.verb) {
		return false
	}
	for i, s := range t.segments {
		if s.kind != literal {
			continue
		}
		text := p.decoded[i]
		if t.verb != "" && i == n-1 {
			text = strings.TrimSuffix(text, ":"+t.verb)
		}
		if text != s.literal {
			return false
		}
	}
	return true
}

// capture returns what a variable holds of a path that matches. Each segment has been decoded once.
func (t *template) capture(v variable, p requestPath) string {
	end := v.end
	if end == len(t.segments) {
		end = len(p.decoded)
	}
	text := strings.Join(p.decoded[v.first:end], "/")
	if t.verb != "" && end == len(p.decoded) {
		text = strings.TrimSuffix(text, ":"+t.verb)
	}
	return text
}

// cut shortens somebody else's word for an error text.
func cut(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
