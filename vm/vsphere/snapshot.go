package vsphere

import (
	"context"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Snapshots reads guests' snapshots, all in one request.
func (c *Conn) Snapshots(ctx context.Context, vms []vm.VM) (map[string][]vm.Snapshot, error) {
	refs := make([]types.ManagedObjectReference, len(vms))
	for i, v := range vms {
		refs[i] = vmRef(v)
	}
	var list []mo.VirtualMachine
	if err := property.DefaultCollector(c.vc).Retrieve(ctx, refs, []string{"snapshot"}, &list); err != nil {
		return nil, wrap(err)
	}
	out := map[string][]vm.Snapshot{}
	for _, v := range list {
		if v.Snapshot != nil {
			out[v.Self.Value] = flatten(v.Snapshot.RootSnapshotList, v.Snapshot.CurrentSnapshot, 0)
		}
	}
	return out, nil
}

func flatten(tree []types.VirtualMachineSnapshotTree, current *types.ManagedObjectReference, depth int) []vm.Snapshot {
	var out []vm.Snapshot
	for _, t := range tree {
		out = append(out, vm.Snapshot{ID: int(t.Id), Ref: t.Snapshot.Value, Name: t.Name, Description: t.Description, Created: t.CreateTime,
			State: state(t.State), Quiesced: t.Quiesced, Current: current != nil && *current == t.Snapshot, Depth: depth})
		out = append(out, flatten(t.ChildSnapshotList, current, depth+1)...)
	}
	return out
}

// onSnapshots runs a task that changes a guest's snapshots.
func (c *Conn) onSnapshots(ctx context.Context, v vm.VM, progress vm.Progress, start func(context.Context) (types.ManagedObjectReference, error)) error {
	_, err := c.do(ctx, &job{vm: vmRef(v), progress: progress, policy: vm.Policy{Deadline: longTask}, start: start})
	return err
}

// TakeSnapshot takes a snapshot.
func (c *Conn) TakeSnapshot(ctx context.Context, v vm.VM, s vm.SnapshotSpec, progress vm.Progress) error {
	return c.onSnapshots(ctx, v, progress, func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CreateSnapshot_Task(ctx, c.vc, &types.CreateSnapshot_Task{This: vmRef(v), Name: s.Name, Description: s.Description, Memory: s.Memory, Quiesce: s.Quiesce})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	})
}

func snapshotRef(s vm.Snapshot) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: s.Ref}
}

// RevertSnapshot makes a guest what it was when a snapshot was taken.
func (c *Conn) RevertSnapshot(ctx context.Context, v vm.VM, s vm.Snapshot, progress vm.Progress) error {
	return c.onSnapshots(ctx, v, progress, func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.RevertToSnapshot_Task(ctx, c.vc, &types.RevertToSnapshot_Task{This: snapshotRef(s)})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	})
}

// DropSnapshot forgets a snapshot; its disks become one with what grew from
// them.
func (c *Conn) DropSnapshot(ctx context.Context, v vm.VM, s vm.Snapshot, children bool, progress vm.Progress) error {
	return c.onSnapshots(ctx, v, progress, func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.RemoveSnapshot_Task(ctx, c.vc, &types.RemoveSnapshot_Task{This: snapshotRef(s), RemoveChildren: children, Consolidate: types.NewBool(true)})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	})
}
