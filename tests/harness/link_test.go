package harness

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"
)

func TestLink(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprintln(c, lines.Text())
				}
			}()
		}
	}()
	l, err := NewLink(server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	ask := func(text string, patience time.Duration) error {
		c.SetReadDeadline(time.Now().Add(patience))
		if text != "" {
			fmt.Fprintln(c, text)
		}
		got, err := answers.ReadString('\n')
		if err == nil && got != "a\n" {
			err = fmt.Errorf("got %q", got)
		}
		return err
	}
	if err := ask("a", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	l.Cut()
	if err := ask("a", 100*time.Millisecond); err == nil {
		t.Error("an answer came through a link that is cut")
	}
	l.Heal()
	if err := ask("", 10*time.Second); err != nil {
		t.Errorf("what was sent before the link healed: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := ask("a", 10*time.Second); err == nil {
		t.Error("an answer came through a closed link")
	}
}
