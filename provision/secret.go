package provision

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// A stager is a family that says for which step of a boot each of its files
// with secrets is meant.
type stager interface {
	// Until is the phase whose word ends a file's time.
	Until(b *Boot, name string) Phase
}

// grace is how long after its first fetch a file for one step may be fetched
// again: an installer tries again if a connection breaks.
const grace = 5 * time.Minute

// bootMAC is the interface that a node boots from; nil if it has none.
func bootMAC(n *nodedb.Node) net.HardwareAddr {
	for _, mac := range n.MACs {
		if !mac.NoIP {
			return mac.Addr
		}
	}
	return nil
}

// alarm is a refusal of what nobody but the node at this step of its boot may
// have or say.
func alarm(node, format string, args ...any) error {
	return &netboot.Refusal{Node: node, Reason: fmt.Sprintf(format, args...), Alarm: true}
}

// secretFits refuses a file that holds a secret to whoever lacks the token of
// the try that is running, or asks from another interface than the node's, or
// when the attempt is past that file's step.
func (s *Service) secretFits(b *Boot, f Family, a *Attempt, m netboot.Machine, name, query string) error {
	node := b.Node.Name
	token, _ := strings.CutPrefix(query, "t=")
	if a == nil || !a.checks(token, b.MAC) {
		return alarm(node, "%s of node %s wants the token of its boot, which only its boot.cfg has", name, node)
	}
	if other := s.stranger(b.Node, m.Addr); other != nil {
		return alarm(node, "%s of node %s is for its own interface, and %s answers for its address", name, node, other)
	}
	_, try, _ := splitToken(token)
	st, staged := f.(stager)
	end := PhaseInstalled
	if staged {
		end = st.Until(b, name)
	}
	if a.Try >= try && order[a.Phase] >= order[end] && a.Phase != PhaseFailed {
		return alarm(node, "%s of node %s is no longer to be had: the node reported %s", name, node, a.Phase)
	}
	if now := s.journal.try(node); try < now {
		return alarm(node, "%s of node %s: this token is of boot %d, and boot %d is running", name, node, try, now)
	}
	if staged && !m.Head && !s.journal.inGrace(node, name) {
		return alarm(node, "%s of node %s is no longer to be had: it was fetched more than %d minutes ago", name, node, int(grace.Minutes()))
	}
	b.Token = token
	return nil
}

// stranger is the interface that answers for an address of the node's and is
// none of the node's; nil where that cannot be told, as behind a router.
func (s *Service) stranger(n *nodedb.Node, addr netip.Addr) net.HardwareAddr {
	if s.Neighbor == nil || !s.ownsAddr(n, addr) || s.DB.Snapshot().Site("checkneighbors") == "no" {
		return nil
	}
	hw := s.Neighbor(addr)
	if len(hw) != 6 {
		return nil
	}
	for _, mac := range n.MACs {
		if bytes.Equal(mac.Addr, hw) {
			return nil
		}
	}
	return hw
}

// inGrace says whether a file for one step may be fetched now, and notes the
// first time.
func (j *journal) inGrace(node, name string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	t, now := j.track(node), j.now()
	first, asked := t.Asked[name]
	if !asked {
		if t.Asked == nil {
			t.Asked = map[string]time.Time{}
		}
		t.Asked[name] = now
		t.dirty = true
		return true
	}
	return now.Sub(first) < grace
}

// alarm counts a refusal that somebody should look at.
func (j *journal) alarm(node string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.alarms++
	if node != "" {
		j.track(node).Alarms++
		j.track(node).dirty = true
	}
}

// Alarms is how often since the start someone asked for what was not his, or
// not his any more.
func (s *Service) Alarms() uint64 {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.alarms
}
