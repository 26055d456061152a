package vm

import (
	"context"

	"margay/nodedb"
)

// claim takes a guest's processors and memory out of what the operator says
// that its host has for guests. Where nothing is said the host is not counted:
// it runs more than it has, and refuses by itself what it cannot.
func (st *site) claim(ctx context.Context, size Size) error {
	if !st.capacity.set() {
		return nil
	}
	st.claiming.Lock()
	defer st.claiming.Unlock()
	if st.given == nil {
		given, err := st.counted(ctx)
		if err != nil {
			return err
		}
		st.given = &given
	}
	if err := st.capacity.room(st.node, *st.given, size); err != nil {
		return err
	}
	st.given.cpus += size.CPUs
	st.given.mb += size.MemoryMB
	return nil
}

// claim is a site's, for what a change gives to its guest beside what that has.
func (ch *changer) claim(ctx context.Context, g *Guest, v VM, c *Change) error {
	var more Size
	if c.CPUs != nil {
		more.CPUs = max(0, *c.CPUs-v.CPUs)
	}
	if c.MemoryMB != nil {
		more.MemoryMB = max(0, *c.MemoryMB-v.MemoryMB)
	}
	if more.CPUs == 0 && more.MemoryMB == 0 || g.Cluster != "" {
		return nil
	}
	if n, err := ch.snap.Node(g.Host); err == nil { // most hosts' capacity is their own affair
		if room, err := capacityOf(n); err != nil || !room.set() {
			return err
		}
	}
	st, err := ch.mk.site(ctx, g)
	if err != nil {
		return err
	}
	return st.claim(ctx, more)
}

// claim is a site's, for a guest that is made with another's hardware.
func (c *cloner) claim(ctx context.Context, g *Guest, s *Spec) error {
	st, err := c.mk.site(ctx, g)
	if err != nil {
		return err
	}
	return st.claim(ctx, Size{CPUs: s.CPUs, MemoryMB: s.MemoryMB})
}

// A roomCheck counts the guests that one command moves to one host. Where
// they are only said to move, the host does not have the earlier ones yet.
type roomCheck struct {
	st  *site
	dry bool
}

// check is what a move needs of the target's capacity, nothing where the table
// leaves that to the host.
func (r *roomCheck) check(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, h *Host, target string, v VM) ([]Check, error) {
	n, err := snap.Node(target)
	if err != nil {
		return nil, err
	}
	room, err := capacityOf(n)
	if err != nil || !room.set() || SameHost(v.Host, h.Name) {
		return nil, err
	}
	if r.st == nil || !r.dry {
		r.st = &site{hv: hv, snap: snap, node: target, host: h, capacity: room}
	}
	return []Check{{What: "target " + target + " has room by its hostinterface", Err: r.st.claim(ctx, Size{CPUs: v.CPUs, MemoryMB: v.MemoryMB})}}, nil
}

// counted is what the guests that the host has were given, whether they are on
// or off; masters never are.
func (st *site) counted(ctx context.Context) (sum capacity, err error) {
	vms, err := st.hv.VMs(ctx, Query{})
	if err != nil {
		return sum, err
	}
	for _, v := range vms {
		if _, master := st.snap.Record(nodedb.Key{Kind: KindMaster, Name: v.Name}); master || v.Template || st.hv.About().Kind == VPX && !SameHost(v.Host, st.host.Name) {
			continue
		}
		sum.cpus += v.CPUs
		sum.mb += v.MemoryMB
	}
	return sum, nil
}
