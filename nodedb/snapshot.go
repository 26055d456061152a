package nodedb

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Snapshot is the whole table at one revision. It never changes, and shares
// with its neighbours all that they have in common; keep it as long as needed.
type Snapshot struct {
	rev     int64
	changed map[Kind]int64 // when a kind last changed; never written to once shown
	kinds   map[Kind]*sorted[*slot]
	members sorted[*sorted[struct{}]] // nodes by group, from nodelist.groups
	macs    index[macKey]
	addrs   index[netip.Addr]
	bmcs    index[bmcKey] // none until somebody has asked: see byBMC
	byBMC   bool
	asked   *atomic.Bool // somebody has; shared by all snapshots
	env     *env

	nets   *lazy[[]*Network] // shared while no network changes
	groups *lazy[[]string]   // shared while the set of groups stays the same
	nodes  *lazy[[]*Node]

	exclude *lazy[excluded]
}

// A lazy is a value that is worked out when first asked for.
type lazy[T any] struct {
	once  sync.Once
	value T
}

func (l *lazy[T]) get(make func() T) T {
	l.once.Do(func() { l.value = make() })
	return l.value
}

// Rev is the store's revision that the snapshot shows.
func (s *Snapshot) Rev() int64 { return s.rev }

// Changed is the newest revision at which a record changed, of the kinds that
// counts says yes to: as long as it stays, so do those records.
func (s *Snapshot) Changed(counts func(Kind) bool) int64 {
	var newest int64
	for k, rev := range s.changed {
		if rev > newest && counts(k) {
			newest = rev
		}
	}
	return newest
}

// NodeChanged is the revision at which a node's record last changed otherwise
// than in its status, 0 if there is no such node. What its groups give it is
// in their own records.
func (s *Snapshot) NodeChanged(name string) int64 {
	rec, ok := s.slot(Key{KindNode, name})
	if !ok {
		return 0
	}
	return rec.changed
}

// kind returns the records of a kind; it may not be changed.
func (s *Snapshot) kind(k Kind) *sorted[*slot] {
	if t := s.kinds[k]; t != nil {
		return t
	}
	return &sorted[*slot]{}
}

func (s *Snapshot) slot(k Key) (*slot, bool) {
	t := s.kinds[k.Kind]
	if t == nil {
		return nil, false
	}
	return t.get(k.Name)
}

// Record returns a record as it was typed. Its Attrs may not be changed.
func (s *Snapshot) Record(k Key) (Record, bool) {
	rec, ok := s.slot(k)
	if !ok {
		return Record{}, false
	}
	return rec.rec, true
}

// Records returns all records of a kind, sorted by name. Their Attrs may not
// be changed.
func (s *Snapshot) Records(k Kind) []Record {
	t := s.kind(k)
	list := make([]Record, 0, t.len())
	for _, rec := range t.all() {
		list = append(list, rec.rec)
	}
	return list
}

// Count is how many records of a kind there are.
func (s *Snapshot) Count(k Kind) int { return s.kind(k).len() }

// Kinds returns the kinds of which there are records, sorted.
func (s *Snapshot) Kinds() []Kind {
	var list []Kind
	for k, t := range s.kinds {
		if t.len() > 0 {
			list = append(list, k)
		}
	}
	slices.Sort(list)
	return list
}

// Node returns a node by name; the error wraps ErrNotFound.
func (s *Snapshot) Node(name string) (*Node, error) {
	rec, ok := s.slot(Key{KindNode, name})
	if !ok {
		return nil, fmt.Errorf("node %s: %w", name, ErrNotFound)
	}
	return rec.asNode(), nil
}

// Nodes returns all nodes, sorted by name. The slice may not be changed.
func (s *Snapshot) Nodes() []*Node {
	return s.nodes.get(func() []*Node {
		list := make([]*Node, 0, s.kind(KindNode).len())
		for _, rec := range s.kind(KindNode).all() {
			list = append(list, rec.asNode())
		}
		return list
	})
}

// NodeNames returns the names of all nodes, sorted.
func (s *Snapshot) NodeNames() []string {
	list := make([]string, 0, s.kind(KindNode).len())
	for name := range s.kind(KindNode).all() {
		list = append(list, name)
	}
	return list
}

// HasNode says whether there is a node of that name.
func (s *Snapshot) HasNode(name string) bool {
	_, ok := s.slot(Key{KindNode, name})
	return ok
}

// NodeByMAC returns the node that has a MAC, nil if none. Of several it is the
// first by name.
func (s *Snapshot) NodeByMAC(mac net.HardwareAddr) *Node {
	if len(mac) == 0 {
		return nil
	}
	name, ok := s.macs.get(keyOf(mac))
	return s.named(name, ok)
}

// NodeByAddr returns the node whose hosts.ip is a, nil if none. Of several it
// is the first by name.
func (s *Snapshot) NodeByAddr(a netip.Addr) *Node {
	name, ok := s.addrs.get(a.Unmap().WithZone(""))
	return s.named(name, ok)
}

func (s *Snapshot) named(name string, ok bool) *Node {
	if !ok {
		return nil
	}
	rec, ok := s.slot(Key{KindNode, name})
	if !ok {
		return nil
	}
	return rec.asNode()
}

// NamesByMAC returns the names of all nodes that have a MAC, sorted: more than
// one is an operator's mistake.
func (s *Snapshot) NamesByMAC(mac net.HardwareAddr) []string { return s.macs.names(keyOf(mac)) }

// NamesByAddr returns the names of all nodes whose hosts.ip is a, sorted.
func (s *Snapshot) NamesByAddr(a netip.Addr) []string {
	return s.addrs.names(a.Unmap().WithZone(""))
}

// Groups returns the names of all groups, sorted: those that nodes are members
// of and those that nodegroup has. The slice may not be changed.
func (s *Snapshot) Groups() []string {
	return s.groups.get(func() []string {
		var list []string
		for name := range s.members.all() {
			list = append(list, name)
		}
		for name, rec := range s.kind(KindGroup).all() {
			if isNodegroup(rec.rec.Attrs) {
				list = append(list, name)
			}
		}
		slices.Sort(list)
		return slices.Compact(list)
	})
}

// isNodegroup says whether a record has a row in nodegroup.
func isNodegroup(attrs map[string]string) bool {
	for column := range attrs {
		if strings.HasPrefix(column, "nodegroup.") {
			return true
		}
	}
	return false
}

// Members returns the nodes of a group, static or dynamic, sorted by name.
// Whether there is such a group at all, Groups says.
func (s *Snapshot) Members(group string) []*Node {
	set, _ := s.groupSet(group)
	return s.nodesOf(set)
}

// Site returns a site value, "" if unset.
func (s *Snapshot) Site(key string) string {
	rec, ok := s.slot(Key{KindSite, key})
	if !ok {
		return ""
	}
	return rec.own("site.value")
}

// Networks returns the networks, sorted by name. The slice may not be changed.
func (s *Snapshot) Networks() []*Network {
	return s.nets.get(func() []*Network {
		var list []*Network
		for _, rec := range s.kind(KindNetwork).all() {
			if !isDisabled(rec.rec.Attrs["networks.disable"]) {
				list = append(list, buildNetwork(rec.rec))
			}
		}
		slices.SortStableFunc(list, func(a, b *Network) int { return strings.Compare(a.Name, b.Name) })
		return list
	})
}

// NetworkOf returns the smallest network that holds a, nil if none.
func (s *Snapshot) NetworkOf(a netip.Addr) *Network {
	a = a.Unmap().WithZone("")
	var best *Network
	for _, n := range s.Networks() {
		if n.Prefix.IsValid() && n.Prefix.Contains(a) && (best == nil || n.Prefix.Bits() > best.Prefix.Bits()) {
			best = n
		}
	}
	return best
}
