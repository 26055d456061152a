package vm

import (
	"context"
	"strings"

	"margay/nodedb"
)

// A RemoveRequest is one rmvm.
type RemoveRequest struct {
	Purge  bool // -p: files too
	Force  bool // -f: turn it off first
	DryRun bool
}

// Remove does rmvm.
func (m *Manager) Remove(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req RemoveRequest, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{Detail: req.Purge}, emit)
		var all []VM
		if req.Purge && len(found) > 0 {
			var err error
			if all, err = hv.VMs(ctx, Query{Detail: true}); err != nil {
				fail(guests, emit, err)
				return
			}
		}
		for _, g := range guests {
			v, ok := found[g.Name]
			if !ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
				continue
			}
			if err := m.remove(ctx, hv, g, v, all, req, questionPolicy(snap, g, false), emit); err != nil {
				emit(Result{Node: g.Name, Err: err})
				continue
			}
			all = without(all, func(x VM) bool { return x.ID == v.ID })
		}
	})
}

func (m *Manager) remove(ctx context.Context, hv Hypervisor, g *Guest, v VM, all []VM, req RemoveRequest, answer Policy, emit Emit) error {
	if v.State == nodedb.PowerOn && !req.Force {
		return Errorf(ErrPowerState, "Cannot rmvm active guest (use -f argument to force)")
	}
	var keep []Disk
	if req.Purge {
		var err error
		if keep, err = keptDisks(v, all); err != nil {
			return err
		}
	}
	if req.DryRun {
		for _, line := range describeRemoval(v, keep, req) {
			emit(Result{Node: g.Name, Text: line})
		}
		return nil
	}
	if v.State == nodedb.PowerOn {
		if err := powerOne(ctx, hv, Order{VM: v, Op: OpOff, Answer: answer}); err != nil {
			return err
		}
	}
	if err := detach(ctx, hv, v, keep); err != nil {
		return err
	}
	if err := hv.Remove(ctx, v, req.Purge); err != nil {
		return err
	}
	for _, d := range keep {
		emit(Result{Node: g.Name, Text: "kept " + d.Path.String()})
	}
	if req.Purge {
		emit(Result{Node: g.Name, Text: "purged"})
	}
	return nil
}

func powerOne(ctx context.Context, hv Hypervisor, o Order) (err error) {
	hv.Power(ctx, []Order{o}, func(_ int, e error) { err = e })
	return err
}

// keptDisks are the disks of a guest that a purge must not delete with it:
// those outside its own folder, and those that other guests use as well. A
// disk that others are linked to is not for detaching either: without it they
// are lost, so the purge is refused.
func keptDisks(v VM, all []VM) ([]Disk, error) {
	if v.Spec == nil {
		return nil, Errorf(ErrInvalid, "VM is in an invalid state")
	}
	var keep []Disk
	for _, d := range v.Spec.Disks {
		shared, children := users(d.Path, v, all)
		if len(children) > 0 {
			return nil, Errorf(ErrExists, "%s is the base of %s; purge those first", d.Path, strings.Join(children, ", "))
		}
		if shared || !d.Path.Within(v.Path.Dir()) {
			keep = append(keep, d)
		}
	}
	return keep, nil
}

// users says whether other guests have a disk too, and which are linked to it.
func users(p Path, v VM, all []VM) (shared bool, children []string) {
	for _, other := range all {
		if other.ID == v.ID || other.Spec == nil {
			continue
		}
		for _, d := range other.Spec.Disks {
			if d.Path == p {
				shared = true
			}
			if d.Parent != nil && *d.Parent == p {
				children = append(children, other.Name)
			}
		}
	}
	return shared, children
}

func describeRemoval(v VM, keep []Disk, req RemoveRequest) []string {
	out := []string{"would forget " + v.Path.String()}
	if !req.Purge {
		return out
	}
	out[0] = "would delete " + v.Path.Dir().String()
	kept := map[int32]bool{}
	for _, d := range keep {
		kept[d.Key] = true
		out = append(out, "would keep "+d.Path.String())
	}
	for _, d := range v.Spec.Disks {
		if !kept[d.Key] {
			out = append(out, "would delete "+d.Path.String())
		}
	}
	return out
}

// detach takes disks off a guest and leaves their files.
func detach(ctx context.Context, hv Hypervisor, v VM, disks []Disk) error {
	if len(disks) == 0 {
		return nil
	}
	c := &Change{}
	for _, d := range disks {
		c.RemoveDisks = append(c.RemoveDisks, DiskRemoval{Disk: d})
	}
	return hv.Reconfigure(ctx, v, c)
}
