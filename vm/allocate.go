package vm

import (
	"io"
	"net"

	"margay/nodedb"
)

// An Allocator gives guests what they lack before they are made: MAC
// addresses and a UUID. No address that any node of the table has is given
// again, nor one that the Allocator gave before.
type Allocator struct {
	snap   *nodedb.Snapshot
	random io.Reader
	given  map[string]bool
	pool   MACPool
}

// NewAllocator works on one snapshot; random is usually crypto/rand.
func NewAllocator(snap *nodedb.Snapshot, random io.Reader) *Allocator {
	a := &Allocator{snap: snap, random: random, given: map[string]bool{}}
	a.pool = MACPool{Prefix: snap.Site("genmacprefix"), Random: random, Taken: a.taken}
	return a
}

func (a *Allocator) taken(mac string) bool {
	hw, err := net.ParseMAC(mac)
	return a.given[mac] || err == nil && a.snap.NodeByMAC(hw) != nil
}

// Guest returns the values that a guest with so many network cards is to get:
// those of mac.mac and vpd.uuid that differ from what the table has. Addresses
// that it has stay, whatever they are; one that another node has too is an
// error, as the network would be.
func (a *Allocator) Guest(n *nodedb.Node, nics int) (map[string]string, error) {
	facts := map[string]string{}
	if err := a.own(n); err != nil {
		return nil, err
	}
	macs := n.Attr("mac.mac")
	for i := len(n.MACs); i < nics; i++ {
		mac, err := a.pool.New(n.Addr)
		if err != nil {
			return nil, err
		}
		a.given[mac.String()] = true
		if macs != "" {
			macs += "|" + mac.String() + "!*NOIP*"
		} else {
			macs = mac.String()
		}
		facts["mac.mac"] = macs
	}
	if n.Attr("vpd.uuid") == "" {
		uuid, err := NewUUID(a.random)
		if err != nil {
			return nil, err
		}
		facts["vpd.uuid"] = uuid
	}
	return facts, nil
}

// own checks the addresses that a node has already.
func (a *Allocator) own(n *nodedb.Node) error {
	for _, m := range n.MACs {
		s := m.Addr.String()
		if err := CheckMAC(s); err != nil {
			return err
		}
		if other := a.snap.NodeByMAC(m.Addr); other != nil && other.Name != n.Name {
			return Errorf(ErrExists, "mac %s is also that of %s; change one of them", s, other.Name)
		}
		a.given[s] = true
	}
	return nil
}
