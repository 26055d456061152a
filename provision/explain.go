package provision

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// said remembers which refusals were explained, so that a machine that asks on
// and on is explained once: again only when it had stopped for a while, or is
// refused for something else.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time // when each was last met; guarded by mu
	full time.Time            // when room was last looked for; guarded by mu
}

const (
	// saidAgain is how long a refusal must not have been met to be news again.
	saidAgain = time.Hour
	// saidMost bounds what forged requests can make us remember.
	saidMost = 4096
	// saidRoom is how seldom room is looked for: thousands of nodes that have
	// nothing to boot, or a flood, would have it looked for at each request.
	saidRoom = time.Minute
)

// first says whether a refusal is news.
func (s *said) first(what string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.last[what]
	if !known && len(s.last) >= saidMost {
		if now.Sub(s.full) < saidRoom {
			return false
		}
		s.full = now
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

// explain puts a refusal in the log, once, and so a fault of our own. Of files
// that are not there the timelines tell.
func (s *Service) explain(snap *nodedb.Snapshot, node string, e netboot.Event) {
	level, what, why := slog.LevelWarn, "refused", ""
	var no *netboot.Refusal
	switch {
	case errors.As(e.Err, &no):
		why = no.Reason
	case e.Err == nil || errors.Is(e.Err, netboot.ErrNotFound):
		return
	case e.Proto == "http" || e.Proto == "tftp":
		level, what, why = slog.LevelError, "file does not open", e.Err.Error()
	default:
		level, what, why = slog.LevelError, "not answered", e.Err.Error()
	}
	if !s.said.first(node+" "+e.Proto+" "+why, s.Now()) {
		return
	}
	args := []any{"service", e.Proto, "why", why}
	if node != "" {
		args = append(args, "node", node)
	}
	if mac := macOf(snap, node, e.Machine); mac != "" {
		args = append(args, "mac", mac)
	}
	if e.Machine.Addr.IsValid() {
		args = append(args, "addr", e.Machine.Addr)
	}
	if e.Name != "" {
		args = append(args, "file", e.Name)
	}
	s.Log.Log(context.Background(), level, what, args...)
}

// macOf is the MAC of who asks; where the service knows none, the node's own.
func macOf(snap *nodedb.Snapshot, node string, m netboot.Machine) string {
	if len(m.MAC) > 0 {
		return m.MAC.String()
	}
	if n, err := snap.Node(node); err == nil && len(n.MACs) > 0 {
		return n.MACs[0].Addr.String()
	}
	return ""
}
