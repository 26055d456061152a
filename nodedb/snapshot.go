package nodedb

import (
	"net"
	"net/netip"
)

// A Snapshot is the whole table at one revision. It never changes, and shares
// with its neighbours all that they have in common; keep it as long as needed.
type Snapshot struct {
	rev int64
}

// Rev is the store's revision that the snapshot shows.
func (s *Snapshot) Rev() int64 { return s.rev }

// Record returns a record as it was typed. Its Attrs may not be changed.
func (s *Snapshot) Record(k Key) (Record, bool) { return Record{}, false }

// Records returns all records of a kind, sorted by name.
func (s *Snapshot) Records(k Kind) []Record { return nil }

// Node returns a node by name; the error wraps ErrNotFound.
func (s *Snapshot) Node(name string) (*Node, error) { return nil, ErrNotFound }

// Nodes returns all nodes, sorted by name. The slice may not be changed.
func (s *Snapshot) Nodes() []*Node { return nil }

// NodeByMAC returns the node that has a MAC, nil if none.
func (s *Snapshot) NodeByMAC(mac net.HardwareAddr) *Node { return nil }

// NodeByAddr returns the node whose hosts.ip is a, nil if none.
func (s *Snapshot) NodeByAddr(a netip.Addr) *Node { return nil }

// Members returns the nodes of a group, static or dynamic, sorted by name.
func (s *Snapshot) Members(group string) []*Node { return nil }

// Site returns a site value, "" if unset.
func (s *Snapshot) Site(key string) string { return "" }

// Image returns an osimage; the error wraps ErrNotFound.
func (s *Snapshot) Image(name string) (*Image, error) { return nil, ErrNotFound }

// Networks returns the networks, sorted by name. The slice may not be changed.
func (s *Snapshot) Networks() []*Network { return nil }

// NetworkOf returns the smallest network that holds a, nil if none.
func (s *Snapshot) NetworkOf(a netip.Addr) *Network { return nil }

// Password returns the row of a key and a user; user "" is the first row of
// the key. The error wraps ErrNotFound.
func (s *Snapshot) Password(key, user string) (*Password, error) { return nil, ErrNotFound }
