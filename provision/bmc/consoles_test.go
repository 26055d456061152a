package bmc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"
)

// lines plays consoles: what is written comes back, and far is the machine's
// end of the last one opened.
type lines struct {
	opened atomic.Int32
	far    atomic.Pointer[net.Conn]
	fail   atomic.Pointer[error]
}

func (l *lines) open(context.Context, string) (io.ReadWriteCloser, error) {
	if err := l.fail.Load(); err != nil {
		return nil, *err
	}
	near, far := net.Pipe()
	l.far.Store(&far)
	l.opened.Add(1) // the last: who sees it talks to the new one
	return near, nil
}

func (l *lines) say(t *testing.T, text string) {
	t.Helper()
	if _, err := (*l.far.Load()).Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestConsoles(t *testing.T) {
	var l lines
	dir := t.TempDir()
	c := &bmc.Consoles{Dir: dir, Open: l.open}
	defer c.Close()
	first, err := c.Attach(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	l.say(t, "login: ")
	bmctest.Expect(t, first, "login: ")
	second, err := c.Attach(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	bmctest.Expect(t, second, "login: ") // what was said before
	if n := l.opened.Load(); n != 1 {
		t.Errorf("%d consoles for two watchers, want one", n)
	}
	go func() { _, _ = second.Write([]byte("root\r")) }()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(*l.far.Load(), buf); err != nil || string(buf) != "root\r" {
		t.Errorf("machine got %q, %v", buf, err)
	}
	_ = second.Close()
	l.say(t, "Password: ")
	bmctest.Expect(t, first, "Password: ")

	_ = (*l.far.Load()).Close() // the BMC restarts
	bmctest.Expect(t, first, "[margay: console of n1 lost: EOF; trying again]")
	for l.opened.Load() < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	l.say(t, "booting")
	bmctest.Expect(t, first, "booting")
	_ = first.Close()
	if _, err := first.Read(buf); err != io.EOF { //nolint:errorlint // io.EOF itself
		t.Errorf("read after close: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "n1.log"))
	if err != nil || !strings.HasPrefix(string(log), "login: Password: \r\n[margay") {
		t.Errorf("log %q, %v", log, err)
	}
	if st, _ := os.Stat(filepath.Join(dir, "n1.log")); st.Mode().Perm() != 0o600 {
		t.Errorf("log has mode %v", st.Mode())
	}
}

// TestConsolesFirstKey types as soon as the console is there.
func TestConsolesFirstKey(t *testing.T) {
	for range 200 {
		var l lines
		c := &bmc.Consoles{Open: l.open}
		w, err := c.Attach(t.Context(), "n1")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = w.Write([]byte("x")) }()
		far := *l.far.Load()
		_ = far.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := far.Read(make([]byte, 1)); n != 1 {
			t.Fatalf("the first key is lost: %v", err)
		}
		_ = w.Close()
		c.Close()
	}
}

func TestConsolesRefused(t *testing.T) {
	var l lines
	c := &bmc.Consoles{Open: l.open}
	defer c.Close()
	fail := error(bmc.ErrPassword)
	l.fail.Store(&fail)
	if _, err := c.Attach(t.Context(), "n1"); !errors.Is(err, bmc.ErrPassword) {
		t.Errorf("%v, want the password", err)
	}
	l.fail.Store(nil)
	w, err := c.Attach(t.Context(), "n1")
	if err != nil {
		t.Fatalf("after the password was put right: %v", err)
	}
	l.fail.Store(&fail)
	_ = (*l.far.Load()).Close()
	if _, err := io.ReadAll(w); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "../x", "a/b", ".x"} {
		if _, err := c.Attach(t.Context(), name); err == nil {
			t.Errorf("%q was taken for a node", name)
		}
	}
}
