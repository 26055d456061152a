package vsphere

import (
	"context"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Maintenance enters or leaves maintenance mode. Entering waits for the
// host's guests to be off or elsewhere; that may take an hour, not longer.
func (c *Conn) Maintenance(ctx context.Context, host string, enter bool) error {
	ref, err := c.hostRef(ctx, host)
	if err != nil {
		return err
	}
	h, err := c.Host(ctx, host)
	if err != nil {
		return err
	}
	if h.Maintenance == enter {
		return nil
	}
	_, err = c.do(ctx, &job{policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		if enter {
			res, err := methods.EnterMaintenanceMode_Task(ctx, c.vc, &types.EnterMaintenanceMode_Task{This: ref, Timeout: 3600})
			if err != nil {
				return types.ManagedObjectReference{}, err
			}
			return res.Returnval, nil
		}
		res, err := methods.ExitMaintenanceMode_Task(ctx, c.vc, &types.ExitMaintenanceMode_Task{This: ref, Timeout: 600})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}

// Shutdown turns a host off that is in maintenance mode.
func (c *Conn) Shutdown(ctx context.Context, host string) error {
	ref, err := c.hostRef(ctx, host)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.ShutdownHost_Task(ctx, c.vc, &types.ShutdownHost_Task{This: ref})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}

func (c *Conn) storageSystem(ctx context.Context, host string) (types.ManagedObjectReference, error) {
	return c.system(ctx, host, func(m types.HostConfigManager) *types.ManagedObjectReference { return m.StorageSystem }, "storageSystem")
}

// Rescan looks for new disks, then for file systems on them.
func (c *Conn) Rescan(ctx context.Context, host string) error {
	ss, err := c.storageSystem(ctx, host)
	if err != nil {
		return err
	}
	if _, err := methods.RescanAllHba(ctx, c.vc, &types.RescanAllHba{This: ss}); err != nil {
		return wrap(err)
	}
	_, err = methods.RescanVmfs(ctx, c.vc, &types.RescanVmfs{This: ss})
	return wrap(err)
}

// FormatDisk makes a VMFS datastore of a whole disk. It asks the host which
// disks are free, so that no disk that holds anything can be meant.
func (c *Conn) FormatDisk(ctx context.Context, host, disk, name string) error {
	ds, free, err := c.freeDisk(ctx, host, disk)
	if err != nil {
		return err
	}
	opts, err := methods.QueryVmfsDatastoreCreateOptions(ctx, c.vc, &types.QueryVmfsDatastoreCreateOptions{This: ds, DevicePath: free.DevicePath})
	if err != nil {
		return wrap(err)
	}
	for _, o := range opts.Returnval {
		spec, ok := o.Spec.(*types.VmfsDatastoreCreateSpec)
		if !ok {
			continue
		}
		spec.Vmfs.VolumeName = name
		_, err := methods.CreateVmfsDatastore(ctx, c.vc, &types.CreateVmfsDatastore{This: ds, Spec: *spec})
		return wrap(err)
	}
	return vm.Errorf(vm.ErrUnsupported, "the host offers no way to format %s", disk)
}

// FreeDisk is the size of a disk that FormatDisk would format.
func (c *Conn) FreeDisk(ctx context.Context, host, disk string) (int64, error) {
	_, free, err := c.freeDisk(ctx, host, disk)
	return free.Capacity.Block * int64(free.Capacity.BlockSize) / 1024, err
}

// freeDisk finds a disk that nothing is on, and what makes a datastore of it.
func (c *Conn) freeDisk(ctx context.Context, host, disk string) (ds types.ManagedObjectReference, free types.HostScsiDisk, err error) {
	if ds, err = c.datastoreSystem(ctx, host); err != nil {
		return ds, free, err
	}
	res, err := methods.QueryAvailableDisksForVmfs(ctx, c.vc, &types.QueryAvailableDisksForVmfs{This: ds})
	if err != nil {
		return ds, free, wrap(err)
	}
	for _, d := range res.Returnval {
		if d.CanonicalName == disk {
			return ds, d, nil
		}
	}
	return ds, free, vm.Errorf(vm.ErrNotFound, "disk %s is not there or not free", disk)
}
