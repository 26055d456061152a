package vsphere

import (
	"context"
	"strings"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Host reads one host: two requests, whatever it has.
func (c *Conn) Host(ctx context.Context, name string) (*vm.Host, error) {
	ref, err := c.hostRef(ctx, name)
	if err != nil {
		return nil, err
	}
	var h mo.HostSystem
	pc := property.DefaultCollector(c.vc)
	err = pc.RetrieveOne(ctx, ref, []string{"name", "runtime.connectionState", "runtime.inMaintenanceMode", "summary.hardware",
		"summary.config.product", "summary.config.vmotionEnabled", "summary.quickStats", "summary.managementServerIp", "configManager.networkSystem", "network", "datastore"}, &h)
	if err != nil {
		return nil, wrap(err)
	}
	out := &vm.Host{
		ID: ref.Value, Name: h.Name, Connected: h.Runtime.ConnectionState == types.HostSystemConnectionStateConnected,
		Maintenance: h.Runtime.InMaintenanceMode, VCenter: h.Summary.ManagementServerIp, VMotion: h.Summary.Config.VmotionEnabled,
	}
	if p := h.Summary.Config.Product; p != nil {
		out.Version, out.Build = p.Version, p.Build
	}
	if hw := h.Summary.Hardware; hw != nil {
		out.Vendor, out.Model, out.CPUs, out.MHz, out.MemoryMB = hw.Vendor, hw.Model, int(hw.NumCpuCores), int(hw.CpuMhz), hw.MemorySize>>20
		out.CPUModel, out.FreeMB = hw.CpuModel, out.MemoryMB-int64(h.Summary.QuickStats.OverallMemoryUsage)
	}
	return out, c.hostParts(ctx, pc, ref, &h, out)
}

// hostParts reads what hangs on a host.
func (c *Conn) hostParts(ctx context.Context, pc *property.Collector, host types.ManagedObjectReference, h *mo.HostSystem, out *vm.Host) error {
	spec := types.PropertyFilterSpec{
		ReportMissingObjectsInResults: types.NewBool(true),
		PropSet: []types.PropertySpec{
			{Type: "HostNetworkSystem", PathSet: []string{"networkInfo"}},
			{Type: "Network", PathSet: []string{"name"}},
			{Type: "Datastore", PathSet: []string{"name", "info", "summary", "host", "browser"}},
		},
	}
	refs := append(append([]types.ManagedObjectReference{}, h.Network...), h.Datastore...)
	if ns := h.ConfigManager.NetworkSystem; ns != nil {
		refs = append(refs, *ns)
	}
	for _, r := range refs {
		spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: r})
	}
	if len(refs) == 0 {
		return nil
	}
	res, err := pc.RetrieveProperties(ctx, types.RetrieveProperties{SpecSet: []types.PropertyFilterSpec{spec}})
	if err != nil {
		return wrap(err)
	}
	for _, o := range res.Returnval {
		switch o.Obj.Type {
		case "HostNetworkSystem":
			var n mo.HostNetworkSystem
			if err := mo.LoadObjectContent([]types.ObjectContent{o}, &n); err != nil {
				return err
			}
			readNetwork(n.NetworkInfo, out)
		case "Datastore":
			var d mo.Datastore
			if err := mo.LoadObjectContent([]types.ObjectContent{o}, &d); err != nil {
				return err
			}
			out.Datastores = append(out.Datastores, toDatastore(&d, host))
			c.browse(host, &d)
		default:
			out.Networks = append(out.Networks, stringProp(o, "name"))
		}
	}
	return nil
}

func readNetwork(n *types.HostNetworkInfo, out *vm.Host) {
	if n == nil {
		return
	}
	for _, p := range n.Portgroup {
		out.PortGroups = append(out.PortGroups, vm.PortGroup{Name: p.Spec.Name, Switch: p.Spec.VswitchName, VLAN: int(p.Spec.VlanId)})
	}
	device := map[string]string{}
	for _, p := range n.Pnic {
		device[p.Key] = p.Device
		out.Uplinks = append(out.Uplinks, p.Device)
	}
	for _, s := range n.Vswitch {
		sw := vm.Switch{Name: s.Name}
		for _, key := range s.Pnic {
			name := device[key]
			if name == "" {
				name = key[strings.LastIndexByte(key, '-')+1:]
			}
			sw.Uplinks = append(sw.Uplinks, name)
		}
		out.Switches = append(out.Switches, sw)
	}
}

func toDatastore(d *mo.Datastore, host types.ManagedObjectReference) vm.Datastore {
	out := vm.Datastore{Name: d.Name, Type: d.Summary.Type, CapacityKB: d.Summary.Capacity / 1024, FreeKB: d.Summary.FreeSpace / 1024, Accessible: d.Summary.Accessible}
	if nas, ok := d.Info.(*types.NasDatastoreInfo); ok && nas.Nas != nil {
		out.RemoteHost, out.RemotePath = nas.Nas.RemoteHost, nas.Nas.RemotePath
	}
	for _, m := range d.Host {
		if m.Key != host {
			continue
		}
		out.ReadOnly = m.MountInfo.AccessMode == string(types.HostMountModeReadOnly)
		if a := m.MountInfo.Accessible; a != nil && !*a {
			out.Accessible = false
		}
	}
	return out
}

// networksOf maps the names of a host's networks to what they are.
func (c *Conn) networksOf(ctx context.Context, host types.ManagedObjectReference) (map[string]types.ManagedObjectReference, error) {
	var h mo.HostSystem
	pc := property.DefaultCollector(c.vc)
	if err := pc.RetrieveOne(ctx, host, []string{"network"}, &h); err != nil {
		return nil, wrap(err)
	}
	var nets []mo.Network
	if len(h.Network) > 0 {
		if err := pc.Retrieve(ctx, h.Network, []string{"name"}, &nets); err != nil {
			return nil, wrap(err)
		}
	}
	out := map[string]types.ManagedObjectReference{}
	for _, n := range nets {
		out[n.Name] = n.Self
	}
	return out, nil
}

// system reads one of a host's managers.
func (c *Conn) system(ctx context.Context, host string, pick func(types.HostConfigManager) *types.ManagedObjectReference, name string) (types.ManagedObjectReference, error) {
	ref, err := c.hostRef(ctx, host)
	if err != nil {
		return ref, err
	}
	var h mo.HostSystem
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, ref, []string{"configManager." + name}, &h); err != nil {
		return ref, wrap(err)
	}
	if r := pick(h.ConfigManager); r != nil {
		return *r, nil
	}
	return ref, vm.Errorf(vm.ErrUnsupported, "the host has no %s", name)
}

// AddSwitch makes a virtual switch of its uplinks.
func (c *Conn) AddSwitch(ctx context.Context, host string, s vm.Switch) error {
	ns, err := c.networkSystem(ctx, host)
	if err != nil {
		return err
	}
	spec := &types.HostVirtualSwitchSpec{NumPorts: 64, Mtu: 1500}
	if len(s.Uplinks) > 0 {
		spec.Bridge = &types.HostVirtualSwitchBondBridge{NicDevice: s.Uplinks}
	}
	_, err = methods.AddVirtualSwitch(ctx, c.vc, &types.AddVirtualSwitch{This: ns, VswitchName: s.Name, Spec: spec})
	return wrap(err)
}

func (c *Conn) networkSystem(ctx context.Context, host string) (types.ManagedObjectReference, error) {
	return c.system(ctx, host, func(m types.HostConfigManager) *types.ManagedObjectReference { return m.NetworkSystem }, "networkSystem")
}

// AddPortGroup makes a port group and waits until guests can use it: hosts
// tell of new ones a moment later.
func (c *Conn) AddPortGroup(ctx context.Context, host string, pg vm.PortGroup) error {
	ns, err := c.networkSystem(ctx, host)
	if err != nil {
		return err
	}
	_, err = methods.AddPortGroup(ctx, c.vc, &types.AddPortGroup{This: ns, Portgrp: types.HostPortGroupSpec{
		Name: pg.Name, VlanId: int32(pg.VLAN), VswitchName: pg.Switch, Policy: types.HostNetworkPolicy{}}})
	if err != nil {
		return wrap(err)
	}
	return c.networkAppears(ctx, host, pg.Name)
}

// RemovePortGroup removes a port group.
func (c *Conn) RemovePortGroup(ctx context.Context, host, name string) error {
	ns, err := c.networkSystem(ctx, host)
	if err != nil {
		return err
	}
	_, err = methods.RemovePortGroup(ctx, c.vc, &types.RemovePortGroup{This: ns, PgName: name})
	return wrap(err)
}
