package netboottest

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestLAN(t *testing.T) {
	lan := NewLAN(t)
	server := lan.NewHost(t, "10.9.0.1/24")
	client := lan.NewHost(t, "10.9.0.2/24")

	var ln net.Listener
	var err error
	server.Do(func() { ln, err = net.Listen("tcp4", "10.9.0.1:80") })
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()

	var c net.Conn
	client.Do(func() { c, err = net.Dial("tcp4", "10.9.0.1:80") })
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v; want hello", got, err)
	}
	if from := c.LocalAddr().(*net.TCPAddr).IP.String(); from != "10.9.0.2" {
		t.Errorf("dialled from %s, want 10.9.0.2", from)
	}
}

func TestRun(t *testing.T) {
	lan := NewLAN(t)
	h := lan.NewHost(t, "10.9.0.3/24")
	var out strings.Builder
	cmd := exec.Command(Binary(t, "ip"), "-o", "link", "show", "eth0")
	cmd.Stdout = &out
	if err := h.Run(cmd); err != nil {
		t.Fatal(err)
	}
	if mac := h.MAC("eth0").String(); mac == "" || !strings.Contains(out.String(), mac) {
		t.Errorf("ip inside says %q, want MAC %q", out.String(), mac)
	}
}

func TestTap(t *testing.T) {
	lan := NewLAN(t)
	if err := lan.Tap("tap0"); err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal(err)
		}
		t.Skipf("no tap devices here: %v", err)
	}
	if lan.MAC("tap0") == nil {
		t.Error("tap0 is not there")
	}
}

func TestDoComesHome(t *testing.T) {
	h := NewHost(t)
	names := func() (s []string) {
		ifs, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range ifs {
			s = append(s, i.Name)
		}
		return s
	}
	before := strings.Join(names(), " ")
	h.Do(func() {
		if got := strings.Join(names(), " "); got != "lo" {
			t.Errorf("inside: %q, want only lo", got)
		}
	})
	if got := strings.Join(names(), " "); got != before {
		t.Errorf("after: %q, before: %q", got, before)
	}
}
