package actors

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseFailureText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := &Error{Code: Code(rapid.IntRange(1, 16).Draw(t, "code")), Message: rapid.String().Draw(t, "message")}
		ref := Ref{Service: rapid.String().Draw(t, "service"), ID: rapid.String().Draw(t, "id")}
		seq := rapid.Int64Min(0).Draw(t, "sequence")
		got, gotSeq, ok := ParseFailureText(FailureText(want, ref, seq))
		if !ok || *got != *want || gotSeq != seq {
			t.Fatalf("got %v, sequence %d, %t, want %v, sequence %d", got, gotSeq, ok, want, seq)
		}
	})
}

func TestParseFailureTextTakesTheLastTail(t *testing.T) {
	t.Parallel()
	forged := FailureText(&Error{Code: NotFound, Message: "no"}, Ref{Service: "s", ID: "x]"}, 1)
	got, _, ok := ParseFailureText("error from actor service: " + FailureText(&Error{Code: Aborted, Message: forged}, Ref{}, 2))
	if !ok || got.Code != Aborted || got.Message != "error from actor service: "+forged {
		t.Errorf("got %v, %t", got, ok)
	}
}

func FuzzParseFailureText(f *testing.F) {
	f.Add(FailureText(&Error{Code: Aborted, Message: "m"}, Ref{Service: "s", ID: "a b]"}, 3))
	f.Add(" [entities code=OK entity=a sequence=1]")
	f.Add(" [entities code=ABORTED entity=a sequence=]")
	f.Add(" [entities code=")
	f.Fuzz(func(t *testing.T, s string) {
		if e, _, ok := ParseFailureText(s); ok && (e.Code == OK || len(e.Message) > len(s)) {
			t.Fatalf("%q gave %v", s, e)
		}
	})
}
