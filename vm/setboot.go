package vm

import (
	"context"

	"margay/nodedb"
)

// SetBoot does rsetboot for guests; a dry run says what is set and what would be.
func (m *Manager) SetBoot(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, o BootOrder, dry bool, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{Detail: o.Stat || dry}, emit)
		for _, g := range guests {
			v, ok := found[g.Name]
			switch {
			case !ok:
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
			case (o.Stat || dry) && v.Spec == nil:
				emit(Result{Node: g.Name, Err: Errorf(ErrInvalid, "VM is in an invalid state")})
			case o.Stat:
				emit(Result{Node: g.Name, Text: v.Spec.DescribeBoot()})
			case dry:
				emit(Result{Node: g.Name, Text: v.Spec.DescribeBoot() + " -> " + o.Text + notDone})
			default:
				err := hv.Reconfigure(ctx, v, o.Change())
				emit(Result{Node: g.Name, Text: textUnless(err, o.Text), Err: err})
			}
		}
	})
}

func textUnless(err error, text string) string {
	if err != nil {
		return ""
	}
	return text
}

// Change is what the order does to a guest: the firmware's boot options, and
// the key that BIOS guests of old hardware versions go by.
func (o BootOrder) Change() *Change {
	if o.Setup {
		yes := true
		return &Change{Setup: &yes}
	}
	return &Change{SetBoot: true, Boot: o.Devices, Extra: []Setting{{BootKey, bootClasses(o.Devices)}}}
}
