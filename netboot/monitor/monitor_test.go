package monitor

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/netboot"
)

// A clerk writes lines down; it does not take "no", and answers "script".
type clerk struct {
	mu      sync.Mutex
	lines   []string
	refused []string
}

func (c *clerk) Line(_ context.Context, m netboot.Machine, line string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch line {
	case "no":
		return "", &netboot.Refusal{Node: "n1", Reason: "not now"}
	case "script":
		return "echo\n#END OF SCRIPT\n", nil
	}
	c.lines = append(c.lines, m.Addr.String()+" "+line)
	return "", nil
}

func (c *clerk) Observe(e netboot.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, e.Node+" "+e.Name+": "+e.Err.Error())
}

func serve(t *testing.T, s *Server) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, at string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, bufio.NewReader(c)
}

// TestTalk: words as xCAT's own clients say them.
func TestTalk(t *testing.T) {
	k := &clerk{}
	at := serve(t, &Server{Handler: k, Observer: k})
	c, in := dial(t, at)
	for _, x := range []struct{ say, want string }{
		{"", "ready\n"}, {"next\n", "done\n"}, {"installstatus booted\r\n", "done\n"}, {"script\n", "echo\n"}, {"", "#END OF SCRIPT\n"}, {"", "done\n"},
	} {
		io.WriteString(c, x.say)
		if got, err := in.ReadString('\n'); got != x.want {
			t.Fatalf("after %q: %q %v, want %q", x.say, got, err, x.want)
		}
	}
	io.WriteString(c, "no\n")
	if got, err := in.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("a line that is refused is answered %q %v", got, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if strings.Join(k.lines, "|") != "127.0.0.1 next|127.0.0.1 installstatus booted" || strings.Join(k.refused, "|") != "n1 no: not now" {
		t.Errorf("heard %q, refused %q", k.lines, k.refused)
	}
}

// TestOldScript: the shell by which old postscripts talk to xCAT without awk.
func TestOldScript(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	k := &clerk{}
	host, port, _ := net.SplitHostPort(serve(t, &Server{Handler: k}))
	out, err := exec.CommandContext(t.Context(), bash, "-c", `exec 3<>/dev/tcp/$0/$1
read -u 3 line; [ "$line" = ready ] || exit 1
echo "installstatus installing" >&3
read -u 3 line; echo "$line"`, host, port).CombinedOutput()
	if err != nil || string(out) != "done\n" {
		t.Errorf("%q %v", out, err)
	}
}

// TestHostile: what is too long, too much or too slow ends the connection, and
// the others go on.
func TestHostile(t *testing.T) {
	k := &clerk{}
	at := serve(t, &Server{Handler: k, Patience: 300 * time.Millisecond, PerAddr: 2})
	closed := func(what string, in io.Reader) {
		t.Helper()
		if _, err := io.Copy(io.Discard, in); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v, want it closed", what, err)
		}
	}
	c, in := dial(t, at)
	go io.WriteString(c, strings.Repeat("x", 1<<20))
	closed("a long line", in)
	c, in = dial(t, at)
	go io.WriteString(c, strings.Repeat("next\n", 1000))
	closed("many lines", in)
	_, in = dial(t, at)
	closed("silence", in)
	patient := serve(t, &Server{Handler: k, PerAddr: 2})
	_, in1 := dial(t, patient)
	_, in2 := dial(t, patient)
	in1.ReadString('\n')
	in2.ReadString('\n')
	_, in3 := dial(t, patient)
	if line, _ := in3.ReadString('\n'); line != "" {
		t.Errorf("a third connection of one address is greeted %q", line)
	}
	k.mu.Lock()
	heard := len(k.lines)
	k.mu.Unlock()
	if heard > maxLines {
		t.Errorf("%d lines were heard of one connection", heard)
	}
	c, in = dial(t, at)
	in.ReadString('\n')
	io.WriteString(c, "next\x00\x1b[2J\n")
	if line, _ := in.ReadString('\n'); line != "done\n" {
		t.Errorf("after all that: %q", line)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if last := k.lines[len(k.lines)-1]; last != "127.0.0.1 next[2J" {
		t.Errorf("control characters: %q", last)
	}
}
