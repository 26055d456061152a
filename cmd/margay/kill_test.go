package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"margay/provision/api"
	"margay/provision/provisiontest"
)

// A server is a daemon in a process of its own.
type server struct {
	t     testing.TB
	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
	said  string // until it was ready
	log   lockedBuffer
}

func startServer(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, ended: make(chan struct{})}
	s.cmd = exec.Command(exe, "serve", "--state", filepath.Join(dir, "state"), "--socket", s.socket(), "--interface", "lo",
		"--dhcp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--dns", "127.0.0.1:0")
	s.cmd.Args = append(s.cmd.Args, flags...)
	s.cmd.Env = append(os.Environ(), runAsMargay+"=1")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	var seen []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(seen, []byte("ready\n")) {
		n, err := out.Read(buf)
		if err != nil {
			s.cmd.Wait()
			close(s.ended)
			t.Fatalf("the daemon ended: %s%s", seen, s.log.String())
		}
		seen = append(seen, buf[:n]...)
	}
	s.said = string(seen)
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	return s
}

func (s *server) socket() string { return filepath.Join(s.dir, "s") }

func (s *server) kill() {
	s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.ended
}

// do runs one command and returns its output, and whether it was
// acknowledged with exit status 0.
func (s *server) do(words ...string) (string, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	c := api.Client{Socket: s.socket()}
	code, err := c.Run(ctx, &api.Request{Args: words, Dir: s.dir}, strings.NewReader(""), &out, &errs)
	return out.String() + errs.String(), err == nil && code == 0
}

func (s *server) must(words ...string) string {
	s.t.Helper()
	out, ok := s.do(words...)
	if !ok {
		s.t.Fatalf("%s: %s", strings.Join(words, " "), out)
	}
	return out
}

// TestKill kills the daemon at random moments while clients change the table
// and asks after each restart whether the table is what was acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	iso := filepath.Join(dir, "esxi.iso")
	if err := provisiontest.WriteESXi(iso, provisiontest.ESXi{Version: "8.0.2"}); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dir)
	s.must("copycds", iso)
	s.must("chtab", "key=vmware", "passwd.username=root", "passwd.password=Secret-1")
	const nodes = 4
	for i := range nodes {
		s.must("mkdef", fmt.Sprintf("n%d", i), "groups=all", "arch=x86_64", fmt.Sprintf("mac=52:54:00:00:00:%02x", i+1), fmt.Sprintf("ip=127.0.1.%d", i+1))
	}
	acked := make([]history, nodes)
	for round := range 6 {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		var writes atomic.Int64
		for i := range nodes {
			wg.Go(func() { acked[i].write(s, fmt.Sprintf("n%d", i), round, stop, &writes) })
		}
		// On a busy machine a moment may pass without a write.
		for deadline := time.Now().Add(time.Minute); writes.Load() < 4 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
		s.kill()
		close(stop)
		wg.Wait()
		s = startServer(t, dir)
		for i := range nodes {
			acked[i].check(t, s, fmt.Sprintf("n%d", i))
		}
	}
	total := 0
	for i := range acked {
		total += acked[i].writes
	}
	if total < 20 {
		t.Errorf("only %d writes were acknowledged: the test shows nothing", total)
	}
}

// A history is what one client wrote to one node: what was acknowledged last,
// and what may have been written without the client hearing of it.
type history struct {
	comment, flying string
	state, stating  string
	writes          int
}

func (h *history) write(s *server, node string, round int, stop chan struct{}, writes *atomic.Int64) {
	for k := 0; ; k++ {
		select {
		case <-stop:
			return
		default:
		}
		h.flying = fmt.Sprintf("r%dk%d", round, k)
		if _, ok := s.do("chdef", node, "usercomment="+h.flying); !ok {
			return
		}
		h.comment = h.flying
		h.stating = "boot"
		if k%2 == 0 {
			h.stating = "install esxi8.0.2-x86_64-base"
		}
		word := strings.Fields(h.stating)[0]
		if word == "install" {
			word = "osimage=esxi8.0.2-x86_64-install-base"
		}
		if _, ok := s.do("nodeset", node, word); !ok {
			return
		}
		h.state = h.stating
		h.writes += 2
		writes.Add(2)
	}
}

func (h *history) check(t *testing.T, s *server, node string) {
	t.Helper()
	out := s.must("lsdef", node, "-i", "usercomment,currstate", "-c")
	got := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		k, v, _ := strings.Cut(strings.TrimPrefix(line, node+": "), "=")
		got[k] = v
	}
	if c := got["usercomment"]; c != h.comment && c != h.flying {
		t.Errorf("%s: usercomment is %q; acknowledged was %q, under way %q", node, c, h.comment, h.flying)
	}
	if st := got["currstate"]; st != h.state && st != h.stating {
		t.Errorf("%s: currstate is %q; acknowledged was %q, under way %q", node, st, h.state, h.stating)
	}
	h.comment, h.state = got["usercomment"], got["currstate"]
}
