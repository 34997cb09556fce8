package main

import (
	"strings"
	"testing"
)

func TestParseLog(t *testing.T) {
	t.Parallel()

	const log = "0 1 1500 0 1412881037 912698\n1 1 2500 0 1412881037 915\n2 1 failed 0 1412881037 9\n"

	r, err := parseLog(strings.NewReader(log))
	if err != nil || r.done != 2 || r.acked != 2 || r.failed != 1 || r.latency.Max() < 2499 || r.latency.Max() > 2501 {
		t.Errorf("got %+v, %v", r, err)
	}

	if _, err := parseLog(strings.NewReader("a line\n")); err == nil {
		t.Error("a strange line was taken")
	}
}
