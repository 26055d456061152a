package vm

import "context"

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

// counted is what the guests that the host has were given, whether they are on
// or off; masters never are.
func (st *site) counted(ctx context.Context) (sum capacity, err error) {
	vms, err := st.hv.VMs(ctx, Query{})
	if err != nil {
		return sum, err
	}
	for _, v := range vms {
		if v.Template || st.hv.About().Kind == VPX && !SameHost(v.Host, st.host.Name) {
			continue
		}
		sum.cpus += v.CPUs
		sum.mb += v.MemoryMB
	}
	return sum, nil
}
