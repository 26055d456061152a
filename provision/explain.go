package provision

import (
	"errors"
	"sync"
	"time"

	"margay/netboot"
)

// said remembers which refusals were explained, so that a machine that asks on
// and on is explained once: again only when it had stopped for a while, or is
// refused for something else.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time // when each was last met; guarded by mu
}

const (
	// saidAgain is how long a refusal must not have been met to be news again.
	saidAgain = time.Hour
	// saidMost bounds what forged requests can make us remember.
	saidMost = 4096
)

// first says whether a refusal is news.
func (s *said) first(what string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.last[what]
	if !known && len(s.last) >= saidMost {
		for w, at := range s.last {
			if now.Sub(at) >= saidAgain {
				delete(s.last, w)
			}
		}
		if len(s.last) >= saidMost {
			return false
		}
	}
	if s.last == nil {
		s.last = map[string]time.Time{}
	}
	s.last[what] = now
	return !known || now.Sub(at) >= saidAgain
}

// explain puts a refusal in the log, once.
func (s *Service) explain(node string, e netboot.Event) {
	var no *netboot.Refusal
	if !errors.As(e.Err, &no) || !s.said.first(node+" "+e.Proto+" "+no.Reason, s.Now()) {
		return
	}
	args := []any{"service", e.Proto, "why", no.Reason}
	if node != "" {
		args = append(args, "node", node)
	}
	if len(e.Machine.MAC) > 0 {
		args = append(args, "mac", e.Machine.MAC.String())
	}
	if e.Machine.Addr.IsValid() {
		args = append(args, "addr", e.Machine.Addr)
	}
	s.Log.Warn("refused", args...)
}
