package dns

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// One address cannot have all connections.
func TestConnsOfOne(t *testing.T) {
	at := serve(t, &Server{Names: always(cluster(1))})
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Minute}
		c, err := d.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	answers := func(c net.Conn) bool {
		t.Helper()
		m, err := ask("esx1.cluster.test.", "A").Pack()
		if err != nil {
			t.Fatal(err)
		}
		if writeMessage(c, m) != nil {
			return false
		}
		_, err = readMessage(c, nil)
		return err == nil
	}
	var all []net.Conn
	for range maxOwn {
		c := dial("127.0.0.1")
		if !answers(c) {
			t.Fatalf("connection %d of one address gets no answer", len(all)+1)
		}
		all = append(all, c)
	}
	if answers(dial("127.0.0.1")) {
		t.Errorf("more than %d connections of one address", maxOwn)
	}
	if !answers(dial("127.0.0.2")) {
		t.Error("another address gets no answer")
	}
	all[0].(*net.TCPConn).CloseWrite()
	if _, err := all[0].Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !answers(dial("127.0.0.1")); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("none may follow one that has ended")
		}
	}
}

func TestCounted(t *testing.T) {
	var c counted
	a, b := netip.MustParseAddr("10.1.0.11"), netip.MustParseAddr("10.1.0.12")
	for i, want := range []bool{true, true, false} {
		if got := c.enter(a, 2); got != want {
			t.Errorf("%d: %v", i, got)
		}
	}
	if !c.enter(b, 2) {
		t.Error("another one's are counted to it")
	}
	c.leave(a)
	if !c.enter(a, 2) {
		t.Error("who left is counted")
	}
	for range 2 {
		c.leave(a)
	}
	c.leave(b)
	if len(c.n) != 0 {
		t.Errorf("left with %v", c.n)
	}
}
