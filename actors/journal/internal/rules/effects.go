package rules

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Keeping is what effects of one source change in an outbox. First the kept effects of the source with one of Keys go,
// except those whose IDs are among Effects. Then Effects are kept, in this order, except those whose IDs are kept already,
// whoever's they are.
type Keeping struct {
	Source  actors.Ref
	Keys    []string
	Effects []*actors.Effect
}

// Keep settles among the effects of a source that arrive together which are replaced or taken back by later ones.
func Keep(source actors.Ref, lists ...[]actors.Effect) Keeping {
	k := Keeping{Source: source}
	ids := map[string]bool{}
	keys := map[string]int{} // places in k.Effects; -1 for none
	for _, list := range lists {
		for i := range list {
			e := &list[i]
			if !e.Cancel && ids[e.ID] {
				continue
			}
			if e.Key != "" {
				place, known := keys[e.Key]
				if !known {
					k.Keys = append(k.Keys, e.Key)
				} else if place >= 0 {
					delete(ids, k.Effects[place].ID)
					k.Effects[place] = nil
				}
				keys[e.Key] = -1
			}
			if e.Cancel {
				continue
			}
			if e.Key != "" {
				keys[e.Key] = len(k.Effects)
			}
			ids[e.ID] = true
			k.Effects = append(k.Effects, e)
		}
	}
	kept := k.Effects[:0]
	for _, e := range k.Effects {
		if e != nil {
			kept = append(kept, e)
		}
	}
	k.Effects = kept
	return k
}

// KeepAll is Keep for the effects of a stream's committed appends.
func KeepAll(source actors.Ref, appends []*journal.Append) Keeping {
	lists := make([][]actors.Effect, 0, len(appends))
	for _, a := range appends {
		if len(a.Effects) > 0 {
			lists = append(lists, a.Effects)
		}
	}
	if len(lists) == 0 {
		return Keeping{Source: source}
	}
	return Keep(source, lists...)
}

// Due is when a delayed effect that is kept now is to be carried out, in the microseconds that all back ends can store.
// It is the zero time for the others: they are due at once, whatever the clock does.
func Due(e *actors.Effect, now time.Time) time.Time {
	due := e.Due
	if e.Delay > 0 {
		due = now.Add(e.Delay)
	}
	if due.IsZero() {
		return time.Time{}
	}
	return due.UTC().Truncate(time.Microsecond)
}

// Decode puts what was stored of an effect by actors.MarshalEffect into p.
func Decode(p *journal.Pending, body []byte) {
	e, err := actors.UnmarshalEffect(body)
	if err != nil {
		p.Problem = "what is stored of this effect is damaged: it cannot be carried out any more; discard it"
		return
	}
	p.Ref, p.Method, p.Payload, p.Metadata = e.Ref, e.Method, e.Payload, e.Metadata
}

// Problem is what is kept of a settlement's problem.
func Problem(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= journal.MaxProblemBytes {
		return text
	}
	n := journal.MaxProblemBytes
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// PrefixEnd is the least text that is greater than all that begin with prefix, in the order of bytes. Empty for none.
func PrefixEnd(prefix string) string {
	runes := []rune(prefix)
	for n, r := range slices.Backward(runes) {
		next := r + 1
		if next == 0xD800 { // surrogates are no characters
			next = 0xE000
		}
		if next <= utf8.MaxRune {
			return string(append(slices.Clip(runes[:n]), next))
		}
	}
	return ""
}
