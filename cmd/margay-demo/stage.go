package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A stage is where the story happens.
type stage struct {
	bin    string
	dir    string
	out    io.Writer
	began  time.Time
	inside bool // in a network namespace of our own
	wire   bool // there is a wire to a machine; else loopback

	daemon  *exec.Cmd
	closers []func()
	said    bytes.Buffer // what the daemon printed
	log     bytes.Buffer // what it logged
}

// chapter prints a heading.
func (st *stage) chapter(title string) {
	fmt.Fprintf(st.out, "\n== %s  (%.1f s)\n", title, time.Since(st.began).Seconds())
}

// run types a command and prints it with its output. An exit status other
// than 0 ends the story.
func (st *stage) run(ctx context.Context, words ...string) error {
	_, err := st.type_(ctx, true, words...)
	return err
}

// fails types a command that must be refused.
func (st *stage) fails(ctx context.Context, words ...string) error {
	if _, err := st.type_(ctx, true, words...); err == nil {
		return fmt.Errorf("%s: ended with 0 and should not have", strings.Join(words, " "))
	}
	return nil
}

func (st *stage) type_(ctx context.Context, show bool, words ...string) (string, error) {
	if show {
		fmt.Fprintf(st.out, "$ %s\n", strings.Join(quote(words), " "))
	}
	cmd := exec.CommandContext(ctx, st.bin, words...)
	cmd.Args = words // called by the command's own name, as through a link
	cmd.Env = append(os.Environ(), "MARGAY_SOCKET="+st.socket())
	cmd.Dir = st.dir
	var all bytes.Buffer
	w := io.Writer(&all)
	if show {
		w = io.MultiWriter(st.out, &all)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Run(); err != nil {
		return all.String(), fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return all.String(), nil
}

func quote(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if strings.ContainsAny(w, " $|") {
			out[i] = "'" + w + "'"
		}
	}
	return out
}

func (st *stage) socket() string { return filepath.Join(st.dir, "margay.sock") }

// serve starts the daemon and waits until it is ready.
func (st *stage) serve(ctx context.Context) error {
	args := []string{"serve", "--state", filepath.Join(st.dir, "state"), "--socket", st.socket()}
	if st.wire {
		args = append(args, "--interface", serverIf, "--dhcp", "force")
	} else {
		args = append(args, "--interface", "lo", "--dhcp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--dns", "127.0.0.1:0")
	}
	fmt.Fprintf(st.out, "$ margay %s &\n", strings.Join(args, " "))
	st.daemon = exec.CommandContext(ctx, st.bin, args...)
	st.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	st.daemon.Cancel = func() error { return st.daemon.Process.Signal(syscall.SIGTERM) }
	st.daemon.WaitDelay = 10 * time.Second
	ready := &readyWriter{out: st.out, seen: &st.said, ready: make(chan struct{})}
	st.daemon.Stdout, st.daemon.Stderr = ready, &st.log
	if err := st.daemon.Start(); err != nil {
		return err
	}
	select {
	case <-ready.ready:
		return nil
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
	}
	return fmt.Errorf("the daemon is not ready: %s", st.log.String())
}

// readyWriter passes the daemon's lines on and notices "ready".
type readyWriter struct {
	out   io.Writer
	seen  *bytes.Buffer
	ready chan struct{}
	done  bool
}

func (w *readyWriter) Write(p []byte) (int, error) {
	w.seen.Write(p)
	if !w.done && bytes.Contains(w.seen.Bytes(), []byte("ready\n")) {
		w.done = true
		close(w.ready)
	}
	return w.out.Write(p)
}

// close ends the daemon and waits for it.
func (st *stage) close() error {
	if st.daemon == nil || st.daemon.Process == nil {
		return nil
	}
	st.daemon.Process.Signal(syscall.SIGTERM)
	err := st.daemon.Wait()
	st.daemon = nil
	for _, c := range st.closers {
		c()
	}
	if err != nil {
		return fmt.Errorf("the daemon: %w\n%s", err, st.log.String())
	}
	return nil
}
