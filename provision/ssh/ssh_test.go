package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/provision/ssh"
)

// OpenSSH's sshd, which shares no code with us.
type sshd struct {
	addr string
	key  ssh.Key
	user string
	dir  string // the user may do as it likes in it
}

// serve starts sshd on loopback. extra are lines of its configuration.
func serve(t *testing.T, extra ...string) *sshd {
	t.Helper()
	bin, err := exec.LookPath("sshd")
	if err != nil {
		bin = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(bin); err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal("sshd is not installed (package openssh-server)")
		}
		t.Skip("sshd is not installed (package openssh-server)")
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where it locks itself in
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	key, authorized, err := ssh.LoadKey(filepath.Join(dir, "client"))
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{addr: freePort(t), key: key, user: me.Username, dir: t.TempDir()}
	_, port, _ := net.SplitHostPort(s.addr)
	write(t, filepath.Join(dir, "authorized"), authorized+"\n")
	var lines []string
	for _, kind := range []string{"rsa", "ed25519"} {
		host := filepath.Join(dir, "host_"+kind)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", host).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
		lines = append(lines, "HostKey "+host)
	}
	lines = append(lines, "ListenAddress 127.0.0.1:"+port, "AuthorizedKeysFile "+filepath.Join(dir, "authorized"), "StrictModes no",
		"PidFile none", "UsePAM no", "PermitRootLogin yes", "LogLevel VERBOSE", "Subsystem sftp /bin/false")
	conf := filepath.Join(dir, "sshd_config")
	write(t, conf, strings.Join(append(extra, lines...), "\n")+"\n")
	cmd := exec.Command(bin, "-D", "-e", "-f", conf)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("sshd:\n%s", &said)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			c.Close()
			return s
		}
		select {
		case <-done:
			t.Fatalf("sshd ended:\n%s", &said)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("sshd does not listen")
		}
	}
}

// freePort is a port of loopback that is free, and none of those that the kernel
// gives to whoever does not care: it stays free until it is taken.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(6000)))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *sshd) target() ssh.Target {
	return ssh.Target{Addr: s.addr, User: s.user, Keys: []ssh.Key{s.key}, Check: func(context.Context, string) error { return nil }}
}

func (s *sshd) dial(t *testing.T) *ssh.Client {
	t.Helper()
	c, err := ssh.Dial(t.Context(), s.target())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestRun(t *testing.T) {
	c := serve(t).dial(t)
	tests := []struct {
		line, in, out, err string
		status             int
	}{
		{"echo one; echo two >&2; exit 3", "", "one\n", "two\n", 3},
		{"cat", "from us", "from us", "", 0},
		{"echo " + ssh.Quote("it's $HOME & 'more'"), "", "it's $HOME & 'more'\n", "", 0},
		{"head -c 2", strings.Repeat("x", 4<<20), "xx", "", 0},
		{"printf " + ssh.Quote(""), "", "", "", 0},
	}
	for _, tt := range tests {
		var out, errs bytes.Buffer
		status, err := c.Run(t.Context(), ssh.Command{Line: tt.line, Stdin: strings.NewReader(tt.in), Stdout: &out, Stderr: &errs})
		if err != nil || status != tt.status || out.String() != tt.out || errs.String() != tt.err {
			t.Errorf("%s: status %d, %v, %q, %q, want %d, %q, %q", tt.line, status, err, &out, &errs, tt.status, tt.out, tt.err)
		}
	}
	var sig *ssh.Signalled
	if _, err := c.Run(t.Context(), ssh.Command{Line: "kill -KILL $$"}); !errors.As(err, &sig) || sig.Signal != "KILL" {
		t.Errorf("a command that kills itself: %v", err)
	}
}

// TestRunMany: a connection is for many goroutines.
func TestRunMany(t *testing.T) {
	c := serve(t).dial(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var out bytes.Buffer
			if _, err := c.Run(t.Context(), ssh.Command{Line: fmt.Sprintf("sleep 0.1; echo %d", i), Stdout: &out}); err != nil || out.String() != fmt.Sprintf("%d\n", i) {
				t.Errorf("%d: %q %v", i, &out, err)
			}
		})
	}
	wg.Wait()
}

// TestCancel: the end of ctx ends the call at once, and the command when it
// next writes.
func TestCancel(t *testing.T) {
	s := serve(t)
	c := s.dial(t)
	gone, ready := filepath.Join(s.dir, "gone"), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-ready
		cancel()
	}()
	line := "trap '' PIPE; while echo ready; do sleep 0.05; done; echo > " + gone
	if _, err := c.Run(ctx, ssh.Command{Line: line, Stdout: &until{"ready", ready}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was canceled", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(gone); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the command runs on")
		}
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := c.Run(ctx, ssh.Command{Line: "sleep 60"}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 30*time.Second {
		t.Errorf("a silent command: %v after %v", err, time.Since(began))
	}
	if status, err := c.Run(t.Context(), ssh.Command{Line: "exit 5"}); err != nil || status != 5 {
		t.Errorf("the next command on the connection: %d %v", status, err)
	}
}

// An until closes a channel when a text was written to it.
type until struct {
	text string
	then chan struct{}
}

func (u *until) Write(p []byte) (int, error) {
	if u.text != "" && strings.Contains(string(p), u.text) {
		u.text = ""
		close(u.then)
	}
	return len(p), nil
}

// TestLost: a machine that goes away while a command runs is an error and no
// exit status.
func TestLost(t *testing.T) {
	c := serve(t).dial(t)
	if _, err := c.Run(t.Context(), ssh.Command{Line: "kill -9 $PPID; sleep 20"}); !errors.Is(err, ssh.ErrUnreachable) {
		t.Errorf("%v, want %v", err, ssh.ErrUnreachable)
	}
}

func TestDialErrors(t *testing.T) {
	s := serve(t)
	fail := func(name string, want error, change func(*ssh.Target)) {
		t.Helper()
		x := s.target()
		change(&x)
		c, err := ssh.Dial(t.Context(), x)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	other, _, err := ssh.LoadKey(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	fail("a key that is not let in", ssh.ErrDenied, func(x *ssh.Target) { x.Keys = []ssh.Key{other} })
	fail("a wrong password", ssh.ErrDenied, func(x *ssh.Target) { x.Keys, x.Password = nil, "wrong" })
	fail("nobody listens", ssh.ErrUnreachable, func(x *ssh.Target) { x.Addr = freePort(t) })
	untrusted := errors.New("untrusted")
	fail("another host key", untrusted, func(x *ssh.Target) { x.Check = func(context.Context, string) error { return untrusted } })

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	fail("takes the connection and says nothing", ssh.ErrUnreachable, func(x *ssh.Target) { x.Addr, x.Timeout = silent.Addr().String(), 200*time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ssh.Dial(ctx, s.target()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestHostKey: what is pinned is what ssh-keygen says of the same machine.
func TestHostKey(t *testing.T) {
	s := serve(t)
	fp, err := ssh.HostKey(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(s.addr)
	scan := exec.Command("sh", "-c", "ssh-keyscan -p "+port+" "+host+" 2>/dev/null | ssh-keygen -l -f -")
	out, err := scan.Output()
	if err != nil || !strings.Contains(string(out), fp+" ") {
		t.Errorf("%s is not among what ssh-keyscan sees: %v\n%s", fp, err, out)
	}
	var shown string
	x := s.target()
	x.Check = func(_ context.Context, fp string) error {
		shown = fp
		return nil
	}
	c, err := ssh.Dial(t.Context(), x)
	if err != nil || shown != fp {
		t.Fatalf("%q is shown at log-in, %q before it: %v", shown, fp, err)
	}
	c.Close()
}

// TestOldMachine: a sshd that has only what that of ESXi 5 has.
func TestOldMachine(t *testing.T) {
	c := serve(t, "KexAlgorithms diffie-hellman-group14-sha1", "HostKeyAlgorithms ssh-rsa", "MACs hmac-sha1", "Ciphers aes128-ctr").dial(t)
	if status, err := c.Run(t.Context(), ssh.Command{Line: "exit 4"}); err != nil || status != 4 {
		t.Errorf("%d %v", status, err)
	}
}
