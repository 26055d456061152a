package vmtest

import (
	"cmp"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// CreateNasDatastore mounts one of the World's exports.
func (d *datastores) CreateNasDatastore(ctx *simulator.Context, req *types.CreateNasDatastore) soap.HasFault {
	refuse := func(f types.BaseMethodFault, text string) soap.HasFault {
		return &methods.CreateNasDatastoreBody{Fault_: simulator.Fault(text, f)}
	}
	label := req.Spec.LocalPath
	if len(label) > 42 || strings.Contains(label, "/") || label == "" {
		return refuse(&types.InvalidName{Name: label}, "")
	}
	dir, ok := d.w.opts.Exports[req.Spec.RemoteHost+":"+req.Spec.RemotePath]
	if !ok {
		return refuse(&types.PlatformConfigFault{Text: "Unable to connect to NFS server"}, "NFS mount "+req.Spec.RemoteHost+":"+req.Spec.RemotePath+" failed: Unable to connect to NFS server.")
	}
	spec := *req
	spec.Spec.LocalPath = filepath.Join(d.w.dir, "nfs", label) // vcsim takes the last part for the name
	os.MkdirAll(filepath.Dir(spec.Spec.LocalPath), 0o755)
	if err := os.Symlink(dir, spec.Spec.LocalPath); err != nil && !os.IsExist(err) {
		return refuse(&types.HostConfigFault{}, err.Error())
	}
	res := d.HostDatastoreSystem.CreateNasDatastore(ctx, &spec)
	for _, o := range ctx.Map.All("Datastore") {
		if ds := o.(*simulator.Datastore); ds.Name == label {
			d.w.setSpace(ds)
			ds.Info.GetDatastoreInfo().Url = dir
			ds.Summary.Url = dir
		}
	}
	return res
}

// QueryAvailableDisksForVmfs offers one free disk.
func (d *datastores) QueryAvailableDisksForVmfs(*types.QueryAvailableDisksForVmfs) soap.HasFault {
	return &methods.QueryAvailableDisksForVmfsBody{Res: &types.QueryAvailableDisksForVmfsResponse{Returnval: []types.HostScsiDisk{freeDisk()}}}
}

// FreeDisk is the name of the disk that formatdisk can format.
const FreeDisk = "naa.600508b1001c0001"

func freeDisk() types.HostScsiDisk {
	return types.HostScsiDisk{ScsiLun: types.ScsiLun{HostDevice: types.HostDevice{DeviceName: "/vmfs/devices/disks/" + FreeDisk}, CanonicalName: FreeDisk, LunType: "disk"},
		DevicePath: "/vmfs/devices/disks/" + FreeDisk, Capacity: types.HostDiskDimensionsLba{BlockSize: 512, Block: 1 << 30}}
}

// QueryVmfsDatastoreCreateOptions offers the whole disk.
func (d *datastores) QueryVmfsDatastoreCreateOptions(req *types.QueryVmfsDatastoreCreateOptions) soap.HasFault {
	if req.DevicePath != freeDisk().DevicePath {
		return &methods.QueryVmfsDatastoreCreateOptionsBody{Fault_: simulator.Fault("", &types.NotFound{})}
	}
	spec := &types.VmfsDatastoreCreateSpec{VmfsDatastoreSpec: types.VmfsDatastoreSpec{DiskUuid: "u1"},
		Vmfs: types.HostVmfsSpec{Extent: types.HostScsiDiskPartition{DiskName: FreeDisk, Partition: 1}, MajorVersion: 6}}
	return &methods.QueryVmfsDatastoreCreateOptionsBody{Res: &types.QueryVmfsDatastoreCreateOptionsResponse{Returnval: []types.VmfsDatastoreOption{{
		Info: &types.VmfsDatastoreAllExtentOption{}, Spec: spec}}}}
}

// CreateVmfsDatastore formats the free disk.
func (d *datastores) CreateVmfsDatastore(ctx *simulator.Context, req *types.CreateVmfsDatastore) soap.HasFault {
	body := &methods.CreateVmfsDatastoreBody{}
	h := ctx.Map.Get(d.Host.Self).(*simulator.HostSystem)
	if req.Spec.Vmfs.VolumeName == "" || req.Spec.Vmfs.Extent.DiskName != FreeDisk {
		body.Fault_ = simulator.Fault("", invalid("spec"))
		return body
	}
	if err := d.w.addDatastore(h, req.Spec.Vmfs.VolumeName); err != nil {
		body.Fault_ = simulator.Fault(err.Error(), &types.DuplicateName{Name: req.Spec.Vmfs.VolumeName})
		return body
	}
	for _, o := range ctx.Map.All("Datastore") {
		if ds := o.(*simulator.Datastore); ds.Name == req.Spec.Vmfs.VolumeName {
			body.Res = &types.CreateVmfsDatastoreResponse{Returnval: ds.Self}
		}
	}
	return body
}

func (n *networks) hostSystem(ctx *simulator.Context) *simulator.HostSystem {
	return ctx.Map.Get(n.Host.Self).(*simulator.HostSystem)
}

// AddVirtualSwitch makes a switch of cards that are there and free.
func (n *networks) AddVirtualSwitch(req *types.AddVirtualSwitch) soap.HasFault {
	bad := func(f types.BaseMethodFault) soap.HasFault {
		return &methods.AddVirtualSwitchBody{Fault_: simulator.Fault("", f)}
	}
	if len(req.VswitchName) > 31 || req.VswitchName == "" {
		return bad(invalid("vswitchName"))
	}
	var keys []string
	if b, ok := bridge(req.Spec); ok {
		for _, card := range b.NicDevice {
			key := "key-vim.host.PhysicalNic-" + card
			if !slices.ContainsFunc(n.NetworkInfo.Pnic, func(p types.PhysicalNic) bool { return p.Key == key }) {
				return bad(&types.NotFound{})
			}
			if slices.ContainsFunc(n.NetworkInfo.Vswitch, func(s types.HostVirtualSwitch) bool { return slices.Contains(s.Pnic, key) }) {
				return bad(&types.ResourceInUse{Type: "PhysicalNic", Name: card})
			}
			keys = append(keys, key)
		}
	}
	res := n.HostNetworkSystem.AddVirtualSwitch(req)
	if res.Fault() == nil {
		n.NetworkInfo.Vswitch[len(n.NetworkInfo.Vswitch)-1].Pnic = keys
	}
	return res
}

func bridge(s *types.HostVirtualSwitchSpec) (*types.HostVirtualSwitchBondBridge, bool) {
	if s == nil {
		return nil, false
	}
	b, ok := s.Bridge.(*types.HostVirtualSwitchBondBridge)
	return b, ok
}

// AddPortGroup makes a port group on this host alone; guests of this host can
// use it at once.
func (n *networks) AddPortGroup(ctx *simulator.Context, req *types.AddPortGroup) soap.HasFault {
	bad := func(f types.BaseMethodFault) soap.HasFault {
		return &methods.AddPortGroupBody{Fault_: simulator.Fault("", f)}
	}
	pg := req.Portgrp
	if pg.VlanId < 0 || pg.VlanId > 4095 {
		return bad(invalid("portgrp.vlanId"))
	}
	if slices.ContainsFunc(n.NetworkInfo.Portgroup, func(p types.HostPortGroup) bool { return p.Spec.Name == pg.Name }) {
		return bad(&types.AlreadyExists{Name: pg.Name})
	}
	h := n.hostSystem(ctx)
	if old := n.w.networkCalled(ctx, pg.Name); old != nil { // another host has one of that name
		at := slices.IndexFunc(n.NetworkInfo.Vswitch, func(s types.HostVirtualSwitch) bool { return s.Name == pg.VswitchName })
		if at < 0 {
			return bad(&types.NotFound{})
		}
		n.NetworkInfo.Vswitch[at].Portgroup = append(n.NetworkInfo.Vswitch[at].Portgroup, pg.Name)
		n.NetworkInfo.Portgroup = append(n.NetworkInfo.Portgroup, types.HostPortGroup{Key: "key-vim.host.PortGroup-" + pg.Name, Spec: pg})
		ctx.Map.AddReference(ctx, h, &h.Network, old.Reference())
		return &methods.AddPortGroupBody{Res: &types.AddPortGroupResponse{}}
	}
	res := n.HostNetworkSystem.AddPortGroup(ctx, req)
	if res.Fault() == nil {
		if net := n.w.networkCalled(ctx, pg.Name); net != nil {
			ctx.Map.AddReference(ctx, h, &h.Network, net.Reference())
		}
	}
	return res
}

func (w *World) networkCalled(ctx *simulator.Context, name string) mo.Entity {
	for _, o := range ctx.Map.All("Network") {
		if net, ok := o.(*mo.Network); ok && net.Name == name {
			return net
		}
	}
	return nil
}

// RemovePortGroup takes a port group off this host.
func (n *networks) RemovePortGroup(ctx *simulator.Context, req *types.RemovePortGroup) soap.HasFault {
	h := n.hostSystem(ctx)
	if net := n.w.networkCalled(ctx, req.PgName); net != nil {
		ctx.Map.RemoveReference(ctx, h, &h.Network, net.Reference())
	}
	return n.HostNetworkSystem.RemovePortGroup(ctx, req)
}

// EnterMaintenanceModeTask wants the host's guests off or elsewhere. A real
// host waits for that; here it is refused at once.
func (h *hostObject) EnterMaintenanceModeTask(ctx *simulator.Context, req *types.EnterMaintenanceMode_Task) soap.HasFault {
	for _, ref := range h.Vm {
		vm, ok := ctx.Map.Get(ref).(*simulator.VirtualMachine)
		if ok && vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			return &methods.EnterMaintenanceMode_TaskBody{Res: &types.EnterMaintenanceMode_TaskResponse{Returnval: failing(ctx, h.HostSystem, "enterMaintenanceMode", &types.Timedout{})}}
		}
	}
	return h.HostSystem.EnterMaintenanceModeTask(ctx, req)
}

// ShutdownHostTask wants maintenance mode first.
func (h *hostObject) ShutdownHostTask(ctx *simulator.Context, req *types.ShutdownHost_Task) soap.HasFault {
	run := func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if !h.Runtime.InMaintenanceMode && !req.Force {
			return nil, &types.InvalidState{}
		}
		return nil, nil
	}
	return &methods.ShutdownHost_TaskBody{Res: &types.ShutdownHost_TaskResponse{Returnval: simulator.CreateTask(h.HostSystem, "shutdownHost", run).Run(ctx)}}
}

// AddStandaloneHostTask takes in one of the Worlds that are known, whose
// certificate must be named.
func (f *folderObject) AddStandaloneHostTask(ctx *simulator.Context, req *types.AddStandaloneHost_Task) soap.HasFault {
	body := &methods.AddStandaloneHost_TaskBody{Res: &types.AddStandaloneHost_TaskResponse{}}
	if fault := f.w.admit(req.Spec); fault != nil {
		body.Res.Returnval = failing(ctx, f.Folder, "addStandaloneHost", fault)
		return body
	}
	body.Res.Returnval = simulator.CreateTask(f.Folder, "addStandaloneHost", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		r := f.Folder.AddStandaloneHostTask(ctx, req).(*methods.AddStandaloneHost_TaskBody)
		if r.Fault() != nil {
			return nil, &types.NotSupported{}
		}
		ref, fault := inner(ctx, r.Res.Returnval)
		if fault == nil { // views saw it before it had its place
			ctx.Map.Put(ctx.Map.Get(ref.(types.ManagedObjectReference)))
			f.w.settle(ctx, ref, req.Spec)
		}
		return ref, fault
	}).Run(ctx)
	return body
}

// DestroyTask takes out a host that is in no cluster, with the compute
// resource that it has of its own.
func (c *computeResource) DestroyTask(ctx *simulator.Context, req *types.Destroy_Task) soap.HasFault {
	run := func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		for _, ref := range c.Host {
			if h, ok := ctx.Map.Get(ref).(*simulator.HostSystem); ok && len(h.Vm) > 0 && h.Runtime.ConnectionState == types.HostSystemConnectionStateConnected {
				return nil, &types.ResourceInUse{}
			}
		}
		if f, ok := ctx.Map.Get(*c.Parent).(*simulator.Folder); ok {
			ctx.Map.RemoveReference(ctx, f, &f.ChildEntity, c.Self)
		}
		for _, ref := range c.Host {
			ctx.Map.Remove(ctx, ref)
		}
		ctx.Map.Remove(ctx, c.Self)
		return nil, nil
	}
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: simulator.CreateTask(c.ComputeResource, "destroy", run).Run(ctx)}}
}

// admit says why a host is not taken in.
func (w *World) admit(spec types.HostConnectSpec) types.BaseMethodFault {
	known := w.known(spec)
	switch {
	case known == nil:
		return &types.NoHost{Name: spec.HostName}
	case !strings.EqualFold(spec.SslThumbprint, known.Thumbprint):
		return &types.SSLVerifyFault{SelfSigned: true, Thumbprint: known.Thumbprint}
	case spec.UserName != known.User || spec.Password != known.Password:
		return &types.InvalidLogin{}
	}
	return nil
}

// AddHostTask takes a host into a cluster.
func (c *clusterObject) AddHostTask(ctx *simulator.Context, req *types.AddHost_Task) soap.HasFault {
	body := &methods.AddHost_TaskBody{Res: &types.AddHost_TaskResponse{}}
	if fault := c.w.admit(req.Spec); fault != nil {
		body.Res.Returnval = failing(ctx, c.ClusterComputeResource, "addHost", fault)
		return body
	}
	body.Res.Returnval = simulator.CreateTask(c.ClusterComputeResource, "addHost", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		spec := *req
		if len(c.Network) == 0 { // vcsim looks for the first; a new cluster has none
			net := ctx.Map.Any("Network").(*mo.Network)
			c.Network = append(c.Network, net.Self)
		}
		r := c.ClusterComputeResource.AddHostTask(ctx, &spec).(*methods.AddHost_TaskBody)
		ref, fault := inner(ctx, r.Res.Returnval)
		if fault == nil { // views saw it before it had its place
			ctx.Map.Put(ctx.Map.Get(ref.(types.ManagedObjectReference)))
			c.w.settle(ctx, ref, req.Spec)
		}
		return ref, fault
	}).Run(ctx)
	return body
}

// DestroyTask removes a cluster, and its hosts with it.
func (c *clusterObject) DestroyTask(ctx *simulator.Context, _ *types.Destroy_Task) soap.HasFault {
	run := func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if f, ok := ctx.Map.Get(*c.Parent).(*simulator.Folder); ok {
			ctx.Map.RemoveReference(ctx, f, &f.ChildEntity, c.Self)
		}
		for _, ref := range c.Host {
			ctx.Map.Remove(ctx, ref)
		}
		ctx.Map.Remove(ctx, c.Self)
		return nil, nil
	}
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: simulator.CreateTask(c.ClusterComputeResource, "destroy", run).Run(ctx)}}
}

func (w *World) known(spec types.HostConnectSpec) *World {
	port := cmp.Or(int(spec.Port), 443)
	addr := net.JoinHostPort(spec.HostName, strconv.Itoa(port))
	for _, k := range w.opts.Known {
		if k.Addr == addr {
			return k
		}
	}
	return nil
}
