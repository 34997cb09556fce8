package actors

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func octets(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// outcomes are what is stored somewhere, byte by byte, and what it has to mean for ever.
var outcomes = []struct {
	name string
	data []string
	want Outcome
}{
	{
		"version 1: a reply with metadata and effects", []string{
			"01 01 05",        // version, a reply, sequence 5
			"01 74 00 020aff", // type t, no content type, two bytes
			"01 016b 0176 00", // k: v
			"02",
			"01 0173 0169 016d 00 00 00 00", // synchronous, s/i, method m, no payload, no metadata
			"00 0153 00 00 0174 0163 0178 01 016b 00 020001", // S/, t of content c with x, k: two bytes
		}, Outcome{
			Sequence: 5, Reply: &Payload{TypeURL: "t", Data: []byte{10, 255}}, Metadata: Metadata{{Key: "k", Text: "v"}},
			Effects: []Effect{
				{Synchronous: true, Ref: Ref{"s", "i"}, Method: "m"},
				{
					Ref: Ref{Service: "S"}, Payload: Payload{TypeURL: "t", ContentType: "c", Data: []byte("x")},
					Metadata: Metadata{{Key: "k", Bytes: []byte{0, 1}}},
				},
			},
		},
	},
	{
		"version 1: a failure", []string{"01 02 ac02", "09 026e6f", "00 00"},
		Outcome{Sequence: 300, Failure: &Error{Code: FailedPrecondition, Message: "no"}},
	},
	{
		"version 1: a forward", []string{"01 04 00", "0173 0169 016d 0174 0163 0164 00", "00 00"},
		Outcome{Forward: &Forward{Ref: Ref{"s", "i"}, Method: "m", Payload: Payload{"t", "c", []byte("d")}}},
	},
	{
		"version 2: a forward with its key and an effect with its id", []string{
			"02 04 01", "0173 0169 016d 0174 0163 0164 00 036b6579", "00", "01 01 0173 0169 016d 00 00 00 00 026964",
		}, Outcome{
			Sequence: 1,
			Forward:  &Forward{Ref: Ref{"s", "i"}, Method: "m", Payload: Payload{"t", "c", []byte("d")}, Key: "key"},
			Effects:  []Effect{{Synchronous: true, Ref: Ref{"s", "i"}, Method: "m", ID: "id"}},
		},
	},
	{"version 2: nothing", []string{"02 00 00 00 00"}, Outcome{}},
}

const storedEffect = "01 0173 0169 016d 0174 0163 0164 01 016b 00 01ff"

var wantEffect = Effect{
	Ref: Ref{"s", "i"}, Method: "m", Payload: Payload{"t", "c", []byte("d")}, Metadata: Metadata{{Key: "k", Bytes: []byte{255}}},
}

func TestStoredOutcomesAreUnderstood(t *testing.T) {
	t.Parallel()
	for _, test := range outcomes {
		t.Run(test.name, func(t *testing.T) {
			data := octets(t, test.data...)
			got, err := UnmarshalOutcome(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if again := MarshalOutcome(got); data[0] == outcomeV2 && !bytes.Equal(again, data) {
				t.Errorf("encoded as %x, want %x", again, data)
			}
			if again, err := UnmarshalOutcome(MarshalOutcome(got)); err != nil || !cmp.Equal(test.want, again) {
				t.Errorf("encoded anew: %+v, %v", again, err)
			}
			for n := range data {
				if cut, err := UnmarshalOutcome(data[:n]); err == nil {
					t.Errorf("%d of %d bytes are understood as %+v", n, len(data), cut)
				}
			}
			if longer, err := UnmarshalOutcome(append(data, 0)); err == nil {
				t.Errorf("a byte too many is understood as %+v", longer)
			}
		})
	}
	for name, bad := range map[string]string{
		"nothing": "", "version 0": "00 00 00 00 00", "version 3": "03 00 00 00 00", "an unknown flag": "02 08 00 00 00",
		"a sequence beyond 63 bits": "02 00 ffffffffffffffffff01 00 00", "a length beyond the end": "02 01 00 7f",
		"a length beyond 63 bits": "02 01 00 ffffffffffffffffff01", "a count beyond the end": "02 00 00 00 ffffffff0f",
	} {
		if got, err := UnmarshalOutcome(octets(t, bad)); err == nil {
			t.Errorf("%s is understood as %+v", name, got)
		}
	}
}

func TestStoredEffectsAreUnderstood(t *testing.T) {
	t.Parallel()
	data := octets(t, storedEffect)
	got, err := UnmarshalEffect(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantEffect, got); diff != "" {
		t.Errorf("effect (-want +got):\n%s", diff)
	}
	if again := MarshalEffect(&got); !bytes.Equal(again, data) {
		t.Errorf("encoded as %x, want %x", again, data)
	}
	for n := range data {
		if cut, err := UnmarshalEffect(data[:n]); err == nil {
			t.Errorf("%d of %d bytes are understood as %+v", n, len(data), cut)
		}
	}
	for _, bad := range []string{storedEffect + "00", "00" + storedEffect[2:], "02" + storedEffect[2:]} {
		if got, err := UnmarshalEffect(octets(t, bad)); err == nil {
			t.Errorf("%s is understood as %+v", bad, got)
		}
	}
}

// What is kept beside the encoding is not in it.
func TestEffectsAreEncodedWithoutTheirKeeping(t *testing.T) {
	t.Parallel()
	e := wantEffect
	e.ID, e.Key, e.Delay, e.Synchronous = "id", "key", 5, true
	if got := MarshalEffect(&e); !bytes.Equal(got, octets(t, storedEffect)) {
		t.Errorf("encoded as %x", got)
	}
}

var (
	payloads = rapid.Custom(func(t *rapid.T) Payload {
		return Payload{rapid.String().Draw(t, "type"), rapid.String().Draw(t, "content"), rapid.SliceOf(rapid.Byte()).Draw(t, "data")}
	})
	metadata = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry {
		return Entry{rapid.String().Draw(t, "key"), rapid.String().Draw(t, "text"), rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")}
	}), 0, 3)
	refs    = rapid.Custom(func(t *rapid.T) Ref { return Ref{rapid.String().Draw(t, "service"), rapid.String().Draw(t, "id")} })
	effects = rapid.Custom(func(t *rapid.T) Effect {
		return Effect{
			Ref: refs.Draw(t, "ref"), Method: rapid.String().Draw(t, "method"), Payload: payloads.Draw(t, "payload"),
			Metadata: metadata.Draw(t, "metadata"),
		}
	})
)

func TestEncodingsGoBothWays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := Outcome{Sequence: rapid.Int64Min(0).Draw(t, "sequence"), Metadata: metadata.Draw(t, "metadata")}
		switch rapid.IntRange(0, 3).Draw(t, "sort") {
		case 0:
			o.Reply = new(payloads.Draw(t, "reply"))
		case 1:
			o.Failure = &Error{Code: Code(rapid.Byte().Draw(t, "code")), Message: rapid.String().Draw(t, "message")}
		case 2:
			o.Forward = &Forward{
				Ref: refs.Draw(t, "to"), Method: rapid.String().Draw(t, "method"), Payload: payloads.Draw(t, "payload"),
				Metadata: metadata.Draw(t, "forwarded"), Key: rapid.String().Draw(t, "key"),
			}
		}
		for _, e := range rapid.SliceOfN(effects, 0, 3).Draw(t, "effects") {
			kept, err := UnmarshalEffect(MarshalEffect(&e))
			if diff := cmp.Diff(e, kept, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Fatalf("effect: %v\n%s", err, diff)
			}
			e.ID, e.Synchronous = rapid.String().Draw(t, "id"), rapid.Bool().Draw(t, "synchronous")
			o.Effects = append(o.Effects, e)
		}
		got, err := UnmarshalOutcome(MarshalOutcome(o))
		if diff := cmp.Diff(o, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Fatalf("outcome: %v\n%s", err, diff)
		}
	})
}

// What is understood can be said again, and means the same.
func FuzzUnmarshalOutcome(f *testing.F) {
	for _, o := range outcomes {
		f.Add(octets(f, o.data...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := UnmarshalOutcome(data)
		if err != nil {
			return
		}
		again, err := UnmarshalOutcome(MarshalOutcome(o))
		if diff := cmp.Diff(o, again); diff != "" || err != nil {
			t.Fatalf("encoded anew: %v\n%s", err, diff)
		}
	})
}

func FuzzUnmarshalEffect(f *testing.F) {
	f.Add(octets(f, storedEffect))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := UnmarshalEffect(data)
		if err != nil {
			return
		}
		again, err := UnmarshalEffect(MarshalEffect(&e))
		if diff := cmp.Diff(e, again); diff != "" || err != nil {
			t.Fatalf("encoded anew: %v\n%s", err, diff)
		}
	})
}
