package operations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors/journal"
)

// What is not what was written is found before it is taken over, and named by its line.
func TestDamage(t *testing.T) {
	t.Parallel()
	source := backends["memory"](t)
	fill(t, source.Of, 3)
	export := exported(t, source)
	lines := strings.SplitAfter(export, "\n")
	lines = lines[:len(lines)-1]
	join := func(parts ...[]string) string {
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(strings.Join(p, ""))
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		export string
		want   string
	}{
		"a byte":          {strings.Replace(export, `"n\":1`, `"n\":2`, 1), "the export is damaged at line "},
		"a line less":     {join(lines[:5], lines[6:]), "damaged at line 6 (byte "},
		"a line twice":    {join(lines[:6], lines[5:]), "damaged at line 7 (byte "},
		"two swapped":     {join(lines[:5], lines[6:7], lines[5:6], lines[7:]), "damaged at line 6 (byte "},
		"torn":            {export[:len(export)/2], "the export is incomplete at line "},
		"no end":          {join(lines[:len(lines)-1]), "it ends before its end; let the export finish"},
		"no line":         {"", "incomplete at line 1 (byte 0): it ends before its end"},
		"another file":    {"PK\x03\x04\n", "it is no export of a journal"},
		"other JSON":      {"{\"a\":1}\n", "it is no export of a journal"},
		"something after": {export + lines[3], "damaged at line "},
		"bytes after":     {export + "x", "there is something behind the end"},
		"no line break":   {strings.TrimSuffix(export, "\n"), "it ends in the middle of a line; let"},
		"newer":           {rewritten(t, kindJournal, map[string]any{"version": formatVersion + 1, "export": "x"}), "use a newer one"},
		"unknown kind":    {export[:len(lines[0])] + rewrittenAfter(t, lines[0], "odd", nil), `it is of the kind "odd"`},
		"events late":     {export[:len(lines[0])] + rewrittenAfter(t, lines[0], kindJournal, nil), "not expected here"},
		"wrong type":      {export[:len(lines[0])] + rewrittenAfter(t, lines[0], kindEvent, map[string]any{"sequence": "one"}), "it cannot be read"},
		"lease":           {export[:len(lines[0])] + rewrittenAfter(t, lines[0], kindCell, map[string]any{"key": "lease/x", "value": ""}), "not one that is taken elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := backends["memory"](t)
			_, err := Importing{To: target}.Import(t.Context(), strings.NewReader(test.export))
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if name == "lease" { // which needs a journal to be refused
				return
			}
			if _, err := (Importing{}).Import(t.Context(), strings.NewReader(test.export)); !errors.Is(err, ErrDamaged) {
				t.Errorf("only checked: %v", err)
			}
		})
	}
	// Every single bit counts.
	for at := 0; at < len(export); at += 97 {
		flipped := []byte(export)
		flipped[at] ^= 1
		if _, err := (Importing{}).Import(t.Context(), bytes.NewReader(flipped)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}

// rewritten is a line with a right checksum.
func rewritten(t *testing.T, kind string, fields map[string]any) string {
	return rewrittenAfter(t, "", kind, fields)
}

func rewrittenAfter(t *testing.T, before, kind string, fields map[string]any) string {
	t.Helper()
	c := newChain()
	if before != "" {
		r := newLineReader(strings.NewReader(before))
		if _, _, err := r.next(); err != nil {
			t.Fatal(err)
		}
		c = r.chain
	}
	var b bytes.Buffer
	w := newLineWriter(&b, c)
	body := strings.TrimPrefix(string(marshal(t, fields)), "{")
	if fields == nil || body == "}" {
		body = `"x":1}`
	}
	if err := w.write(kind, rawLine(fmt.Sprintf(`{"kind":%q,%s`, kind, body))); err != nil {
		t.Fatal(err)
	}
	if err := w.to.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type rawLine string

func (r rawLine) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// A journal that has something else is left as it is.
func TestWrongJournal(t *testing.T) {
	t.Parallel()
	source := backends["memory"](t)
	fill(t, source.Of, 3)
	export := exported(t, source)
	run := func(t *testing.T, j Journal, merge bool) error {
		t.Helper()
		_, err := Importing{To: j, Merge: merge}.Import(t.Context(), strings.NewReader(export))
		return err
	}
	t.Run("the same", func(t *testing.T) {
		if err := run(t, source, false); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), "it is the journal that was exported") {
			t.Error(err)
		}
		if err := run(t, source, true); err != nil {
			t.Error(err)
		}
	})
	t.Run("not empty", func(t *testing.T) {
		t.Parallel()
		target := backends["sqlite"](t)
		add(t, target.Of, Ref{Service: "other", ID: "x"}, journal.Append{Events: []journal.Event{text("a", "1")}})
		if err := run(t, target, false); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), "it is not empty, but has entities of other") {
			t.Error(err)
		}
		if err := run(t, target, true); err != nil {
			t.Error(err)
		}
	})
	for name, event := range map[string]string{"another event": `{"n":"other"}`, "a longer one": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := backends["sqlite"](t)
			add(t, target.Of, refs[0], journal.Append{Events: []journal.Event{text("added", event)}})
			if err := run(t, target, true); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), refs[0].String()) {
				t.Error(err)
			}
		})
	}
	t.Run("another export of the name", func(t *testing.T) {
		t.Parallel()
		target, other := backends["memory"](t), backends["memory"](t)
		fill(t, other.Of, 4)
		if err := run(t, target, false); err != nil {
			t.Fatal(err)
		}
		_, err := Importing{To: target}.Import(t.Context(), strings.NewReader(exported(t, other)))
		if !errors.Is(err, ErrOther) {
			t.Error(err)
		}
	})
	t.Run("damaged source", func(t *testing.T) {
		t.Parallel()
		_, err := Exporting{From: &torn{source}}.Export(t.Context(), new(bytes.Buffer), nil)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "event 7 of a/b is damaged") {
			t.Error(err)
		}
	})
	t.Run("resumed with another", func(t *testing.T) {
		t.Parallel()
		other := backends["memory"](t)
		fill(t, other.Of, 1)
		rest, err := Resume(strings.NewReader(export[:len(export)/2]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (Exporting{From: other}).Export(t.Context(), new(bytes.Buffer), rest); err == nil || !strings.Contains(err.Error(), "is of another journal") {
			t.Error(err)
		}
	})
}

// torn is a journal with a damaged event.
type torn struct{ Journal }

func (*torn) Tail(_ context.Context, _ []string, at journal.Position, _ int) ([]journal.Event, journal.Position, error) {
	return nil, at, &journal.CorruptError{Ref: Ref{Service: "a", ID: "b"}, Sequence: 7, Reason: "flipped"}
}

func FuzzImport(f *testing.F) {
	source := backends["memory"](f)
	f.Add([]byte(""))
	f.Add([]byte("{\"kind\":\"journal\",\"crc\":\"00000000\"}\n"))
	var b bytes.Buffer
	if _, err := (Exporting{From: source, Name: "x"}).Export(context.Background(), &b, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		// Right checksums, so that what is behind them is looked at.
		var fixed bytes.Buffer
		w := newLineWriter(&fixed, newChain())
		for l := range bytes.Lines(data) {
			body := bytes.TrimSpace(l)
			if at := bytes.LastIndex(body, []byte(crcField)); at > 0 {
				body = append(bytes.Clone(body[:at]), '}')
			}
			_ = w.write("fuzz", rawLine(body)) // what is no JSON is left out
		}
		_ = w.to.Flush()
		for _, in := range [][]byte{data, fixed.Bytes()} {
			_, err := Importing{To: backends["memory"](t)}.Import(t.Context(), bytes.NewReader(in))
			if err == nil && len(in) == 0 {
				t.Error("nothing is an export")
			}
			if rest, err := Resume(bytes.NewReader(in)); err == nil && rest.Bytes > int64(len(in)) {
				t.Errorf("%d bytes of %d are kept", rest.Bytes, len(in))
			}
		}
	})
}
