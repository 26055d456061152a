package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// A Command is one line for a machine's shell.
type Command struct {
	Line           string
	Stdin          io.Reader // nil: none
	Stdout, Stderr io.Writer // nil: thrown away; not written to at the same time
	// WaitDelay is how long the end of the command waits for a Read of Stdin
	// that is going on; zero: 10 s.
	WaitDelay time.Duration
}

// A Signalled is the end of a command by a signal on the machine.
type Signalled struct{ Signal string }

func (s *Signalled) Error() string { return "ended by signal " + s.Signal }

// Run runs a command and returns its exit status. An error means that there is
// none: the connection was lost, ctx has ended, or a signal ended the command.
//
// When ctx ends Run returns at once and nothing more is written to Stdout and
// Stderr. The command is sent SIGTERM; OpenSSH passes that on for all users but
// root, whose commands end when they next write something, as with ssh itself.
//
// Stdin is the caller's again when Run returns, to be read or sent once more:
// no Read of it is begun any more, and one that was going on has ended. Where
// that does not end in time the error is ErrBusy and Stdin is in use for good.
func (c *Client) Run(ctx context.Context, cmd Command) (int, error) {
	s, err := c.session(ctx)
	if err != nil {
		return -1, err
	}
	defer s.Close()
	if cmd.Stdin == nil {
		return run(ctx, s, cmd)
	}
	in := &loan{r: cmd.Stdin, turn: make(chan struct{}, 1)}
	cmd.Stdin = in
	code, err := run(ctx, s, cmd)
	return in.settle(cmp.Or(cmd.WaitDelay, waitDelay), code, err)
}

func run(ctx context.Context, s *ssh.Session, cmd Command) (int, error) {
	var out gate
	defer out.shut()
	s.Stdin, s.Stdout, s.Stderr = cmd.Stdin, out.to(cmd.Stdout), out.to(cmd.Stderr)
	err := s.Start(cmd.Line)
	if err != nil {
		return status(ctx, err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Wait() }() // ends with the connection at the latest
	select {
	case err = <-done:
	case <-ctx.Done():
		s.Signal(ssh.SIGTERM)
	}
	return status(ctx, err)
}

// A gate lets writes through until it is shut.
type gate struct {
	mu     sync.Mutex
	closed bool // guarded by mu
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// to is w behind the gate.
func (g *gate) to(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return writer(func(p []byte) (int, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			return 0, io.ErrClosedPipe
		}
		return w.Write(p)
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func (c *Client) session(ctx context.Context) (*ssh.Session, error) {
	s, err := c.c.NewSession()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnreachable, err)
	}
	return s, nil
}

// status is what the end of a command says.
func status(ctx context.Context, err error) (int, error) {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case ctx.Err() != nil:
		return -1, context.Cause(ctx)
	case err == nil, errors.Is(err, io.EOF): // it read not all of its input
		return 0, nil
	case errors.As(err, &exit) && exit.Signal() != "":
		return -1, &Signalled{exit.Signal()}
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	case errors.As(err, &missing):
		return -1, fmt.Errorf("%w: the connection was lost while the command ran", ErrUnreachable)
	}
	return -1, fmt.Errorf("%w: %v", ErrUnreachable, err)
}

// Quote makes one word of a shell's line of any text.
func Quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-=:,+@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
