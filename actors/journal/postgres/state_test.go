package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/dapr-entities/entities/actors/journal"
)

func TestDefinite(t *testing.T) {
	t.Parallel()
	state := func(severity, code string) error {
		return fmt.Errorf("append: %w", &pq.Error{Severity: severity, Code: pqerror.Code(code)})
	}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{state("ERROR", "23505"), true},
		{state("ERROR", "22P02"), true},
		{state("ERROR", "40001"), true},
		{state("ERROR", "40P01"), true},
		{state("ERROR", "53100"), true},
		{state("ERROR", "57014"), true},
		{state("ERROR", "25006"), true},
		{state("ERROR", "40003"), false},
		{state("ERROR", "08006"), false},
		{state("ERROR", "57P01"), false},
		{state("FATAL", "57P01"), false},
		{state("FATAL", "53300"), false},
		{state("PANIC", "XX000"), false},
		{state("", "23505"), false},
		{state("ERROR", ""), false},
		{driver.ErrBadConn, false},
		{io.EOF, false},
		{io.ErrUnexpectedEOF, false},
		{net.ErrClosed, false},
		{context.DeadlineExceeded, false},
		{errors.New("pq: something else"), false},
		{errUnsent{io.EOF}, true},
		{fmt.Errorf("x: %w", errUnsent{driver.ErrBadConn}), true},
	} {
		if got := definite(test.err); got != test.want {
			t.Errorf("%#v: definite %v", test.err, got)
		}
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err               error
		full, unavailable bool
	}{
		{&pq.Error{Severity: "ERROR", Code: "53100"}, true, false},
		{&pq.Error{Severity: "ERROR", Code: "25006"}, false, true}, // a standby now
		{&pq.Error{Severity: "ERROR", Code: "57014"}, false, true},
		{&pq.Error{Severity: "ERROR", Code: "42P01"}, false, true},
		{&pq.Error{Severity: "ERROR", Code: "22021"}, false, false},
		{&pq.Error{Severity: "ERROR", Code: "54000"}, false, false},
		{errUnsent{io.EOF}, false, true},
	} {
		err := refusal(test.err)
		if errors.Is(err, journal.ErrFull) != test.full || errors.Is(err, journal.ErrUnavailable) != test.unavailable || !errors.Is(err, test.err) {
			t.Errorf("%#v became %v", test.err, err)
		}
	}
}

// FuzzDefinite checks that nothing but an ERROR of the server is ever taken for a definite answer.
func FuzzDefinite(f *testing.F) {
	for _, code := range []string{"23505", "57P01", "08000", "40003", "57014", "", "XX000", "5", "\x00\x00\x00\x00\x00"} {
		f.Add("ERROR", code)
		f.Add("FATAL", code)
	}
	f.Fuzz(func(t *testing.T, severity, code string) {
		err := &pq.Error{Severity: severity, Code: pqerror.Code(code)}
		if !definite(err) {
			return
		}
		if severity != "ERROR" || len(code) != 5 || code[:2] == "08" || code == "40003" || code[:2] == "57" && code != "57014" {
			t.Errorf("%q %q is definite", severity, code)
		}
	})
}

func TestArray(t *testing.T) {
	t.Parallel()
	empty := newArray(oidText, 0)
	if got := fmt.Sprintf("%x", empty.encode()); got != "000000000000000000000019" {
		t.Errorf("empty array %s", got)
	}
	a := newArray(oidText, 0)
	a.text("ab")
	a.null()
	want := "00000001" + "00000001" + "00000019" + "00000002" + "00000001" + "00000002" + "6162" + "ffffffff"
	if got := fmt.Sprintf("%x", a.encode()); got != want {
		t.Errorf("array %s, want %s", got, want)
	}
}
