package ssh

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// ErrBusy: a command has ended, and its input is still being read.
var ErrBusy = errors.New("the input is still being read")

const waitDelay = 10 * time.Second

// A loan is a reader that a session may read until it is called back. The
// library reads in a goroutine of its own, which it does not wait for.
type loan struct {
	r    io.Reader
	turn chan struct{} // full while r is being read
	over atomic.Bool
}

// Read reads unless the loan is over.
func (l *loan) Read(p []byte) (int, error) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.over.Load() {
		return 0, io.ErrClosedPipe
	}
	return l.r.Read(p)
}

// settle ends the loan, and says what a command came to then.
func (l *loan) settle(delay time.Duration, code int, err error) (int, error) {
	l.over.Store(true)
	wait := time.NewTimer(delay)
	defer wait.Stop()
	select {
	case l.turn <- struct{}{}:
		<-l.turn
		return code, err
	case <-wait.C:
	}
	if err != nil {
		return code, fmt.Errorf("%w; %w", err, ErrBusy)
	}
	return code, ErrBusy
}
