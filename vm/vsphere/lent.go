package vsphere

import (
	"io"
	"net/http"
	"sync"
)

// A lent reader is a request's body that is its owner's again once it is
// closed. The library reads a body in a goroutine of its own, which may go on
// when the request has failed, or was answered early.
type lent struct {
	r    io.Reader
	mu   sync.Mutex
	over bool // guarded by mu
}

// Read reads unless the body is closed.
func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, http.ErrBodyReadAfterClose
	}
	return l.r.Read(p)
}

// Close waits for a Read that goes on, and lets no other begin. What r is
// stays open.
func (l *lent) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	return nil
}
