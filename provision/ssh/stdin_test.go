package ssh_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"margay/provision/ssh"
)

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// TestStdinInTime: a Read that goes on when the command ends has ended when
// Run returns.
func TestStdinInTime(t *testing.T) {
	s := serve(t)
	for name, line := range map[string]string{"the command ends": "exit 3", "the connection is lost": "kill -9 $PPID; sleep 20"} {
		t.Run(name, func(t *testing.T) {
			c, read := s.dial(t), false
			began, lost, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() {
				c.Wait()
				close(lost)
			}()
			slow := reader(func([]byte) (int, error) {
				select {
				case <-began:
				case <-lost:
				}
				select {
				case <-returned:
					t.Error("Run returned while its input was being read")
				case <-time.After(500 * time.Millisecond): // enough to see it red, and never too little
				}
				read = true
				return 0, io.EOF
			})
			code, err := c.Run(t.Context(), ssh.Command{Line: "echo began; " + line, Stdin: slow, Stdout: &until{"began", began}})
			close(returned)
			if !read || errors.Is(err, ssh.ErrBusy) {
				t.Errorf("%d, %v; the input was read: %v", code, err, read)
			}
		})
	}
}

// TestStdinAgain: what a command did not read is sent again to the next, whole.
func TestStdinAgain(t *testing.T) {
	s := serve(t)
	want := bytes.Repeat([]byte("0123456789"), 20_000)
	for range 10 {
		in := bytes.NewReader(want)
		if _, err := s.dial(t).Run(t.Context(), ssh.Command{Line: "head -c 30000; kill -9 $PPID; sleep 20", Stdin: in}); !errors.Is(err, ssh.ErrUnreachable) {
			t.Fatalf("%v, want that the connection was lost", err)
		}
		in.Seek(0, io.SeekStart)
		var out bytes.Buffer
		if code, err := s.dial(t).Run(t.Context(), ssh.Command{Line: "cat", Stdin: in, Stdout: &out}); code != 0 || err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("%d bytes arrived of %d: %d %v", out.Len(), len(want), code, err)
		}
	}
}

// TestStdinStuck: a Read that never ends keeps no command from ending.
func TestStdinStuck(t *testing.T) {
	c := serve(t).dial(t)
	r, w := io.Pipe()
	defer w.Close()
	code, err := c.Run(t.Context(), ssh.Command{Line: "exit 3", Stdin: r, WaitDelay: 50 * time.Millisecond})
	if code != 3 || !errors.Is(err, ssh.ErrBusy) {
		t.Errorf("%d %v, want 3 and %v", code, err, ssh.ErrBusy)
	}
	var out bytes.Buffer
	if code, err := c.Run(t.Context(), ssh.Command{Line: "cat", Stdin: strings.NewReader("next"), Stdout: &out}); code != 0 || err != nil || out.String() != "next" {
		t.Errorf("the next command: %d %v %q", code, err, &out)
	}
}
