package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// list is of effects written as id, id:key and -key, the last of which takes back.
func list(text string) (effects []actors.Effect) {
	for n, word := range strings.Fields(text) {
		id, key, _ := strings.Cut(word, ":")
		e := actors.Effect{ID: id, Key: key}
		if key, ok := strings.CutPrefix(word, "-"); ok {
			e = actors.Effect{ID: "cancel" + string(rune('0'+n)), Key: key, Cancel: true}
		}
		effects = append(effects, e)
	}
	return effects
}

func TestKeep(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, lists, keys, kept string // lists are separated by |
	}{
		{"nothing", "", "", ""},
		{"no keys", "a b | c", "", "a b c"},
		{"a key", "a:k b", "k", "a b"},
		{"replaced in one append", "a:k b c:k", "k", "b c"},
		{"replaced in another", "a:k | b | c:k | d:k", "k", "b d"},
		{"taken back", "a:k -k b", "k", "b"},
		{"taken back and made again", "a:k -k | b:k", "k", "b"},
		{"taken back before", "-k a", "k", "a"},
		{"several keys", "a:k b:l -k c:m d:l", "k l m", "c d"},
		{"an id again", "a b | a c", "", "a b c"},
		{"an id again, once it was replaced", "a:k b:k | a:k", "k", "a"},
		{"an id again with another key", "a:k | a:l", "k", "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			source := actors.Ref{Service: "s", ID: "i"}
			var lists [][]actors.Effect
			var appends []*journal.Append
			for text := range strings.SplitSeq(test.lists, "|") {
				lists = append(lists, list(text))
				appends = append(appends, &journal.Append{Effects: list(text)})
			}
			for _, got := range []Keeping{Keep(source, lists...), KeepAll(source, appends)} {
				var kept []string
				for _, e := range got.Effects {
					kept = append(kept, e.ID)
				}
				if diff := cmp.Diff(strings.Fields(test.keys), append([]string{}, got.Keys...)); diff != "" {
					t.Errorf("keys (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(strings.Fields(test.kept), append([]string{}, kept...)); diff != "" {
					t.Errorf("kept (-want +got):\n%s", diff)
				}
				if got.Source != source {
					t.Errorf("source %v", got.Source)
				}
			}
		})
	}
}

func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"": "", "a": "b", "a/": "a0", "\uD7FF": "\uE000", "\U0010FFFF": "", "a\U0010FFFF\U0010FFFF": "b", "ü": "ý",
	} {
		if got := PrefixEnd(prefix); got != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		prefix, text := rapid.String().Draw(t, "prefix"), rapid.String().Draw(t, "text")
		if rapid.Bool().Draw(t, "of it") {
			text = prefix + text
		}
		end := PrefixEnd(prefix)
		if between := text >= prefix && (end == "" || text < end); between != strings.HasPrefix(text, prefix) {
			t.Errorf("%q from %q to %q: %v", text, prefix, end, between)
		}
	})
}

func TestDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 1999, time.FixedZone("z", 3600))
	for _, test := range []struct {
		effect actors.Effect
		want   time.Time
	}{
		{actors.Effect{}, time.Time{}},
		{actors.Effect{Due: now}, time.Date(2029, 12, 31, 23, 0, 0, 1000, time.UTC)},
		{actors.Effect{Delay: time.Hour}, time.Date(2030, 1, 1, 0, 0, 0, 1000, time.UTC)},
		{actors.Effect{Delay: 1<<63 - 1}, now.Add(1<<63 - 1).UTC().Truncate(time.Microsecond)},
	} {
		if got := Due(&test.effect, now); got != test.want {
			t.Errorf("%+v: %v, want %v", test.effect, got, test.want)
		}
	}
}

func FuzzProblem(f *testing.F) {
	f.Add("none", 1)
	f.Add("\xff\x00ü", 900)
	f.Add("🍵", 513)
	f.Fuzz(func(t *testing.T, text string, times int) {
		text = strings.Repeat(text, max(0, min(times, 4000)))
		got := Problem(text)
		if len(got) > journal.MaxProblemBytes || strings.ToValidUTF8(got, "") != got || strings.Contains(got, "\x00") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		if valid := strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD"); !strings.HasPrefix(valid, got) ||
			len(valid) <= journal.MaxProblemBytes && valid != got || len(valid) > journal.MaxProblemBytes && len(got) <= journal.MaxProblemBytes-4 {
			t.Errorf("of %d bytes %d are kept", len(valid), len(got))
		}
	})
}
