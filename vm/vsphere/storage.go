package vsphere

import (
	"context"
	"errors"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

func (c *Conn) datastoreSystem(ctx context.Context, host string) (types.ManagedObjectReference, error) {
	return c.system(ctx, host, func(m types.HostConfigManager) *types.ManagedObjectReference { return m.DatastoreSystem }, "datastoreSystem")
}

// Mount mounts an NFS export, and says what the datastore is called: a vCenter
// may give it another name than it was asked for.
func (c *Conn) Mount(ctx context.Context, host string, l vm.Location, label string) (string, error) {
	ds, err := c.datastoreSystem(ctx, host)
	if err != nil {
		return "", err
	}
	res, err := methods.CreateNasDatastore(ctx, c.vc, &types.CreateNasDatastore{This: ds, Spec: types.HostNasVolumeSpec{
		RemoteHost: l.Server, RemotePath: l.Export, LocalPath: label,
		AccessMode: string(types.HostMountModeReadWrite), Type: string(types.HostFileSystemVolumeFileSystemTypeNFS)}})
	if err != nil {
		return "", wrap(err)
	}
	var d mo.Datastore
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, res.Returnval, []string{"name"}, &d); err != nil {
		return "", wrap(err)
	}
	return d.Name, nil
}

// Unmount takes a datastore off a host.
func (c *Conn) Unmount(ctx context.Context, host, name string) error {
	dss, err := c.datastoreSystem(ctx, host)
	if err != nil {
		return err
	}
	dc, err := c.datacenterOf(ctx, host)
	if err != nil {
		return err
	}
	ds, err := c.datastoreRef(ctx, name, dc)
	if err != nil {
		return err
	}
	_, err = methods.RemoveDatastore(ctx, c.vc, &types.RemoveDatastore{This: dss, Datastore: ds})
	return wrap(err)
}

// MakeDir makes a folder, with those above it.
func (c *Conn) MakeDir(ctx context.Context, host string, p vm.Path) error {
	dc, err := c.datacenterOf(ctx, host)
	if err != nil {
		return err
	}
	_, err = methods.MakeDirectory(ctx, c.vc, &types.MakeDirectory{This: *c.vc.ServiceContent.FileManager, Name: p.String(), Datacenter: &dc, CreateParentDirectories: types.NewBool(true)})
	return wrap(err)
}

// CopyDisk copies a virtual disk on the host itself.
func (c *Conn) CopyDisk(ctx context.Context, host string, from, to vm.Path, f vm.Format, progress vm.Progress) error {
	dc, err := c.datacenterOf(ctx, host)
	if err != nil {
		return err
	}
	req := types.CopyVirtualDisk_Task{This: *c.vc.ServiceContent.VirtualDiskManager, SourceName: from.String(), SourceDatacenter: &dc,
		DestName: to.String(), DestDatacenter: &dc,
		DestSpec: &types.VirtualDiskSpec{DiskType: diskType(f), AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic)}}
	err = c.copyDisk(ctx, req, progress)
	if errors.Is(err, vm.ErrUnsupported) || errors.Is(err, vm.ErrInvalid) {
		req.DestSpec = nil // vCenters of some versions take none
		err = c.copyDisk(ctx, req, progress)
	}
	return err
}

func (c *Conn) copyDisk(ctx context.Context, req types.CopyVirtualDisk_Task, progress vm.Progress) error {
	_, err := c.do(ctx, &job{progress: progress, policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CopyVirtualDisk_Task(ctx, c.vc, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}

func diskType(f vm.Format) string {
	switch f {
	case vm.ZeroedThick:
		return string(types.VirtualDiskTypePreallocated)
	case vm.EagerZeroedThick:
		return string(types.VirtualDiskTypeEagerZeroedThick)
	}
	return string(types.VirtualDiskTypeThin)
}

// Delete deletes a file, a folder, or a virtual disk with all of its parts.
func (c *Conn) Delete(ctx context.Context, host string, p vm.Path) error {
	dc, err := c.datacenterOf(ctx, host)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		if vm.IsDisk(p) {
			res, err := methods.DeleteVirtualDisk_Task(ctx, c.vc, &types.DeleteVirtualDisk_Task{This: *c.vc.ServiceContent.VirtualDiskManager, Name: p.String(), Datacenter: &dc})
			if err != nil {
				return types.ManagedObjectReference{}, err
			}
			return res.Returnval, nil
		}
		res, err := methods.DeleteDatastoreFile_Task(ctx, c.vc, &types.DeleteDatastoreFile_Task{This: *c.vc.ServiceContent.FileManager, Name: p.String(), Datacenter: &dc})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}
