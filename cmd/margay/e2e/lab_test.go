package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

const (
	serverAddr = "10.77.0.1"
	base       = "http://" + serverAddr
)

// A lab is a network of its own with the daemon on it.
type lab struct {
	lan    *netboottest.LAN
	server *netboottest.Host
	margay string // the program
	state  string // its directory
	socket string
	log    *output
}

// newLab builds the program, and starts the daemon as an operator would.
func newLab(t *testing.T) *lab {
	t.Helper()
	lan := netboottest.NewLAN(t)
	dir := shortDir(t)
	l := &lab{
		lan:    lan,
		server: lan.NewHost(t, serverAddr+"/24"),
		margay: filepath.Join(dir, "margay"),
		state:  filepath.Join(dir, "state"),
		socket: filepath.Join(dir, "sock"),
		log:    &output{},
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", l.margay, "margay/cmd/margay")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	l.serve(t, dir)
	return l
}

// shortDir is a directory whose name leaves room for a socket's, which the
// kernel limits to 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "margay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (l *lab) serve(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(l.margay, "serve", "--verbose", "--state", l.state,
		"--interface", "eth0", "--no-ipv6-router", "--https", ":443", "--templates", filepath.Join(dir, "templates"), "--socket", l.socket)
	cmd.Stdout, cmd.Stderr = l.log, l.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := l.server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { l.stop(t, cmd, ended) })
	ready := time.After(time.Minute)
	for {
		more := l.log.more()
		if l.log.has("ready\n") {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("margay serve: %v\n%s", err, l.log)
		case <-ready:
			t.Fatalf("margay serve does not get ready\n%s", l.log)
		case <-more:
		}
	}
}

// stop ends the daemon as systemd would.
func (l *lab) stop(t *testing.T, cmd *exec.Cmd, ended chan error) {
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("margay serve after SIGTERM: %v", err)
		}
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		t.Error("margay serve does not end on SIGTERM")
	}
	if t.Failed() {
		t.Logf("margay serve:\n%s", l.log)
	}
}

// run runs one of margay's commands and returns what it prints.
func (l *lab) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := l.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("margay %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command(l.margay, args...)
	cmd.Env = append(os.Environ(), "MARGAY_SOCKET="+l.socket)
	return cmd
}

// An output keeps what a process writes.
type output struct {
	mu      sync.Mutex // guards both
	text    bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.text.Write(p)
}

// more is closed at the next write.
func (o *output) more() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

func (o *output) has(text string) bool { return strings.Contains(o.String(), text) }

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
