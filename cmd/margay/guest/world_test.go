package guest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

const serverAddr = "10.78.0.1"

// A world is a network with the daemon on it, and what the daemon keeps.
type world struct {
	lan    *netboottest.LAN
	server *netboottest.Host
	dir    string // the daemon's: state, templates, socket
	margay string
	log    *transcript
}

// newWorld builds the program and starts the daemon.
func newWorld(t *testing.T) *world {
	t.Helper()
	lan := netboottest.NewLAN(t)
	dir, err := os.MkdirTemp("", "guest") // a socket's name has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{lan: lan, server: lan.NewHost(t, serverAddr+"/24"), dir: dir, margay: filepath.Join(dir, "margay"), log: newTranscript()}
	if out, err := exec.Command("go", "build", "-o", w.margay, "margay/cmd/margay").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	w.serve(t)
	w.run(t, "chtab", "key=system", "passwd.username=root", "passwd.password=Guest-1")
	return w
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *world) serve(t *testing.T) {
	t.Helper()
	cmd := exec.Command(w.margay, "serve", "--verbose", "--no-ipv6-router", "--state", w.path("state"), "--interface", "eth0",
		"--templates", w.path("templates"), "--socket", w.path("sock"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = w.log, w.log
	if err := w.server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		defer time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }).Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("margay serve after SIGTERM: %v", err)
		}
		if t.Failed() {
			t.Logf("margay serve:\n%s", w.log.tail(150))
		}
	})
	w.log.await(t, 3*time.Minute, `^ready$`)
}

// run runs one of margay's commands and returns what it prints.
func (w *world) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(w.margay, args...)
	cmd.Env = append(os.Environ(), "MARGAY_SOCKET="+w.path("sock"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("margay %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// write puts a file of the operator's below the daemon's directory.
func (w *world) write(t *testing.T, mode os.FileMode, text string, elem ...string) string {
	t.Helper()
	file := w.path(elem...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// expect waits until lsdef shows the attributes.
func (w *world) expect(t *testing.T, limit time.Duration, node string, want ...string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		more := w.log.more()
		out := w.run(t, "lsdef", node, "-i", "currstate,status,currchain")
		missing := slices.DeleteFunc(slices.Clone(want), func(attr string) bool { return strings.Contains(out+"\n", attr+"\n") })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("lsdef: no %s in\n%s\n%s", missing, out, w.run(t, "watch", node, "--once"))
		}
		select {
		case <-more:
		case <-time.After(time.Second):
		}
	}
}

// steps waits for words of a node's timeline in their order: what happened is
// noted when it has, and after it is in the table.
func (w *world) steps(t *testing.T, node string, steps ...string) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		text := w.run(t, "watch", node, "--once")
		missing := lacks(node, text, steps)
		if missing != "" && time.Now().Before(end) {
			continue
		}
		t.Logf("margay watch %s:\n%s", node, text)
		if missing != "" {
			t.Errorf("margay watch: no step %s of %v in its place", missing, steps)
		}
		return
	}
}

// lacks is the first of the steps that a timeline does not have in its place.
func lacks(node, text string, steps []string) string {
	for _, step := range steps {
		at := regexp.MustCompile(`(?m)^` + node + `: .*\b` + step + `\b`).FindStringIndex(text)
		if at == nil {
			return step
		}
		text = text[at[1]:]
	}
	return ""
}

// mirror is an address inside the network at which Debian's mirror answers:
// the daemon has no other way out.
func (w *world) mirror(t *testing.T) string {
	t.Helper()
	real := os.Getenv("MARGAY_TEST_MIRROR")
	if real == "" {
		real = "http://deb.debian.org/debian"
	}
	target, err := url.Parse(real)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.Head(real + "/dists/bookworm/Release"); err != nil || resp.StatusCode != http.StatusOK {
		missing(t, "Debian's mirror "+real+" (MARGAY_TEST_MIRROR names another)")
	}
	var l net.Listener
	w.server.Do(func() { l, err = net.Listen("tcp4", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host})
		r.Out.Host = target.Host
	}}}
	go proxy.Serve(l)
	t.Cleanup(func() { proxy.Close() })
	return "http://" + l.Addr().String() + target.Path
}

// missing skips the test for want of something, unless all has to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		t.Fatalf("%s is not to be had, and MARGAY_TEST_REAL is set", what)
	}
	t.Skipf("%s is not to be had; make test installs what it needs", what)
}

// A transcript is what a process or a machine writes, line by line.
type transcript struct {
	began time.Time
	keys  io.Writer // a machine's keyboard on its serial line

	mu      sync.Mutex // guards all below
	part    []byte     // of a line that has not ended
	lines   []string
	seen    int // lines that await has passed over
	changed chan struct{}
}

func newTranscript() *transcript {
	return &transcript{began: time.Now(), changed: make(chan struct{})}
}

// escapes are the sequences that firmware and systemd colour their lines with.
var escapes = regexp.MustCompile(`\x1b[\[(][0-9;?=]*[a-zA-Z]|\x1b[c78]|.\x08`)

// Write implements io.Writer. A login prompt ends with no line: what has not
// ended counts as a line too when it is looked for.
func (x *transcript) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.part = append(x.part, p...)
	for {
		i := bytes.IndexByte(x.part, '\n')
		if i < 0 {
			break
		}
		x.lines = append(x.lines, clean(x.part[:i]))
		x.part = x.part[i+1:]
	}
	close(x.changed)
	x.changed = make(chan struct{})
	return len(p), nil
}

func clean(line []byte) string {
	s := escapes.ReplaceAllString(strings.TrimRight(string(line), "\r"), "")
	return s[strings.LastIndexByte(s, '\r')+1:]
}

// typed types a line.
func (x *transcript) typed(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(x.keys, line+"\r"); err != nil {
		t.Fatal(err)
	}
}

func (x *transcript) more() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.changed
}

// fatal is what our own guests write when they cannot go on.
const fatal = "INSTALLER-FATAL"

// await returns the next line that matches.
func (x *transcript) await(t *testing.T, limit time.Duration, pattern string) string {
	t.Helper()
	want := regexp.MustCompile(pattern)
	timeout := time.After(limit)
	for {
		line, more := x.find(want)
		if line != "" {
			t.Logf("%5.1f s: %s", time.Since(x.began).Seconds(), line)
			if strings.Contains(line, fatal) {
				t.Fatalf("waiting for %s: %s\n%s", pattern, line, x.tail(100))
			}
			return line
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("no %s in %v\n%s", pattern, limit, x.tail(100))
		}
	}
}

func (x *transcript) find(want *regexp.Regexp) (string, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.seen < len(x.lines) {
		line := x.lines[x.seen]
		x.seen++
		if want.MatchString(line) || strings.Contains(line, fatal) {
			return line, nil
		}
	}
	if part := clean(x.part); want.MatchString(part) {
		x.part = nil
		return part, nil
	}
	return "", x.changed
}

// tail is the end of it, for a failing test.
func (x *transcript) tail(n int) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return strings.Join(x.lines[max(0, len(x.lines)-n):], "\n") + "\n" + clean(x.part)
}
