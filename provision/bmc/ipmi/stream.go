package ipmi

import (
	"io"
	"sync"
)

// maxBuffered is how much of a console waits for its reader, or for the BMC.
const maxBuffered = 256 << 10

// A stream is where readers and writers of a console meet the goroutine that
// runs it.
type stream struct {
	typed chan struct{} // something was written
	room  chan struct{} // something was read after there was no room

	mu    sync.Mutex // guards what follows
	cond  *sync.Cond
	in    []byte // for the reader
	out   []byte // for the BMC
	full  bool
	cause error // set when it has ended
}

func newStream() *stream {
	s := &stream{typed: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// Read returns what the machine wrote. After the end it returns what is left,
// then why it ended.
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.in) == 0 {
		if s.cause != nil {
			return 0, s.cause
		}
		s.cond.Wait()
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	if s.full {
		s.full = false
		nudge(s.room)
	}
	return n, nil
}

// Write sends p to the machine; it waits while too much is under way.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) > maxBuffered && s.cause == nil {
		s.cond.Wait()
	}
	if s.cause != nil {
		return 0, io.ErrClosedPipe
	}
	s.out = append(s.out, p...)
	nudge(s.typed)
	return len(p), nil
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// end wakes everybody with a cause; the first stands.
func (s *stream) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = cause
	}
	s.cond.Broadcast()
}

// deliver gives characters to the reader; false if there is no room.
func (s *stream) deliver(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.in)+len(b) > maxBuffered {
		s.full = true
		return false
	}
	s.in = append(s.in, b...)
	s.cond.Broadcast()
	return true
}

// takeTyped returns up to n characters for the BMC, nil if none wait.
func (s *stream) takeTyped(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.out))
	if n == 0 {
		return nil
	}
	b := append([]byte(nil), s.out[:n]...)
	s.out = s.out[n:]
	s.cond.Broadcast()
	return b
}

// untype puts back characters that the BMC did not take.
func (s *stream) untype(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(append([]byte(nil), b...), s.out...)
	nudge(s.typed)
}
