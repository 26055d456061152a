package vsphere

import (
	"context"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// longTask bounds copies and moves of whole disks.
const longTask = 12 * time.Hour

// Clone copies a guest; a linked clone grows from the snapshot that v has.
func (c *Conn) Clone(ctx context.Context, v vm.VM, cs vm.CloneSpec, progress vm.Progress) (vm.VM, error) {
	where, _, err := c.spot(ctx, cs.Where)
	if err != nil {
		return vm.VM{}, err
	}
	spec := types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &where.pool, Host: where.host}}
	spec.Customization = customizationSpec(cs.Customize)
	if cs.Datastore != "" {
		ds, err := c.datastoreRef(ctx, cs.Datastore, where.dc)
		if err != nil {
			return vm.VM{}, err
		}
		spec.Location.Datastore = &ds
	}
	if cs.Linked {
		if spec.Snapshot, err = c.snapshotOf(ctx, v); err != nil {
			return vm.VM{}, err
		}
		spec.Location.DiskMoveType = string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)
	}
	req := types.CloneVM_Task{This: vmRef(v), Folder: where.folder, Name: cs.Name, Spec: spec}
	result, err := c.do(ctx, &job{vm: vmRef(v), progress: progress, policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CloneVM_Task(ctx, c.vc, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	if err != nil {
		return vm.VM{}, err
	}
	return made(result, cs.Name)
}

func (c *Conn) snapshotOf(ctx context.Context, v vm.VM) (*types.ManagedObjectReference, error) {
	var m mo.VirtualMachine
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, vmRef(v), []string{"snapshot"}, &m); err != nil {
		return nil, wrap(err)
	}
	if m.Snapshot == nil || m.Snapshot.CurrentSnapshot == nil {
		return nil, vm.Errorf(vm.ErrNotFound, "master %s has no snapshot to link to; make it with clonevm -t, or clone with -d", v.Name)
	}
	return m.Snapshot.CurrentSnapshot, nil
}

// datastoreRef finds a datastore by name, in one datacenter.
func (c *Conn) datastoreRef(ctx context.Context, name string, dc types.ManagedObjectReference) (types.ManagedObjectReference, error) {
	var d mo.Datacenter
	pc := property.DefaultCollector(c.vc)
	if err := pc.RetrieveOne(ctx, dc, []string{"datastore"}, &d); err != nil {
		return types.ManagedObjectReference{}, wrap(err)
	}
	var list []mo.Datastore
	if len(d.Datastore) > 0 {
		if err := pc.Retrieve(ctx, d.Datastore, []string{"name"}, &list); err != nil {
			return types.ManagedObjectReference{}, wrap(err)
		}
	}
	for _, ds := range list {
		if ds.Name == name {
			return ds.Self, nil
		}
	}
	return types.ManagedObjectReference{}, vm.Errorf(vm.ErrNotFound, "there is no datastore %q", name)
}

// Snapshot takes a snapshot without memory.
func (c *Conn) Snapshot(ctx context.Context, v vm.VM, name string) error {
	_, err := c.do(ctx, &job{vm: vmRef(v), start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CreateSnapshot_Task(ctx, c.vc, &types.CreateSnapshot_Task{This: vmRef(v), Name: name})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}

// MarkTemplate makes a guest a template.
func (c *Conn) MarkTemplate(ctx context.Context, v vm.VM) error {
	_, err := methods.MarkAsTemplate(ctx, c.vc, &types.MarkAsTemplate{This: vmRef(v)})
	return wrap(err)
}

// Migrate moves a guest to another host, running or not.
func (c *Conn) Migrate(ctx context.Context, v vm.VM, host string, progress vm.Progress) error {
	where, _, err := c.spot(ctx, vm.Where{Host: host})
	if err != nil {
		return err
	}
	req := types.MigrateVM_Task{This: vmRef(v), Pool: &where.pool, Host: where.host, Priority: types.VirtualMachineMovePriorityHighPriority}
	_, err = c.do(ctx, &job{vm: vmRef(v), progress: progress, policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.MigrateVM_Task(ctx, c.vc, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}

// Relocate moves a guest's files to another datastore, running or not.
func (c *Conn) Relocate(ctx context.Context, v vm.VM, datastore string, progress vm.Progress) error {
	dc, err := c.datacenterOf(ctx, v.Host)
	if err != nil {
		return err
	}
	ds, err := c.datastoreRef(ctx, datastore, dc)
	if err != nil {
		return err
	}
	req := types.RelocateVM_Task{This: vmRef(v), Spec: types.VirtualMachineRelocateSpec{Datastore: &ds}, Priority: types.VirtualMachineMovePriorityHighPriority}
	_, err = c.do(ctx, &job{vm: vmRef(v), progress: progress, policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.RelocateVM_Task(ctx, c.vc, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}
