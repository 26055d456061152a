package vm

import (
	"context"
	"sync"

	"margay/nodedb"
)

// Cards reads the network cards of guests and hands each guest's to found, one
// guest at a time.
func (m *Manager) Cards(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, found func(node string, cards []NIC), failed Emit) {
	var mu sync.Mutex // one call of found at a time
	m.each(ctx, snap, nodes, failed, func(ctx context.Context, hv Hypervisor, guests []*Guest, failed Emit) {
		guests, vms := look(ctx, hv, guests, Query{Detail: true}, failed)
		for _, g := range guests {
			v, ok := vms[g.Name]
			switch {
			case !ok:
				failed(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
			case v.Spec == nil || v.Invalid:
				failed(Result{Node: g.Name, Err: Errorf(ErrInvalid, "VM is in an invalid state")})
			default:
				mu.Lock()
				found(g.Name, v.Spec.NICs)
				mu.Unlock()
			}
		}
	})
}
