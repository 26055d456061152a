package vmtest

import (
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// furnish gives the hosts names, cards, datastores and services.
func (w *World) furnish() error {
	m := w.model.Map()
	for i, o := range hostsInOrder(m) {
		h := o
		if w.vcenter {
			w.rename(h, w.opts.Hosts[i])
		}
		if p := h.Summary.Config.Product; w.opts.Version != "" && p != nil {
			own := *p
			own.Version = w.opts.Version
			h.Summary.Config.Product = &own
		}
		h.Summary.Config.VmotionEnabled = w.vcenter
		w.furnishNetwork(h)
		w.furnishAutostart(h)
		w.furnishKernelNICs(h)
		for _, name := range w.opts.Datastores {
			if err := w.addDatastore(h, name); err != nil {
				return err
			}
		}
	}
	if w.vcenter {
		for _, o := range m.All("Datacenter") {
			o.(*simulator.Datacenter).Name = w.opts.Datacenter
		}
	}
	for _, o := range m.AllReference("LicenseManager") {
		lm := o.(*simulator.LicenseManager)
		for i := range lm.Licenses {
			lm.Licenses[i].Name = w.opts.Licence
		}
	}
	return nil
}

// hostsInOrder are the hosts, as they were made.
func hostsInOrder(m *simulator.Registry) []*simulator.HostSystem {
	var out []*simulator.HostSystem
	for _, o := range m.All("HostSystem") {
		out = append(out, o.(*simulator.HostSystem))
	}
	for i := range out {
		for j := i + 1; j < len(out); j++ {
			if out[j].Name < out[i].Name {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}

func (w *World) rename(h *simulator.HostSystem, name string) {
	h.Name, h.Summary.Config.Name = name, name
	if cr, ok := w.model.Map().Get(*h.Parent).(*simulator.ClusterComputeResource); ok {
		cr.Name = name
		return
	}
	for _, o := range w.model.Map().All("ComputeResource") {
		if o.Reference() == *h.Parent {
			o.Entity().Name = name
		}
	}
}

// furnishNetwork gives a host its own lists, which vcsim's hosts share, and
// the cards behind its switch.
func (w *World) furnishNetwork(h *simulator.HostSystem) {
	ns := w.model.Map().Get(*h.ConfigManager.NetworkSystem).(*simulator.HostNetworkSystem)
	info := *ns.NetworkInfo
	info.Portgroup = append([]types.HostPortGroup(nil), info.Portgroup...)
	info.Vswitch = []types.HostVirtualSwitch{{Name: "vSwitch0", Key: "key-vim.host.VirtualSwitch-vSwitch0", Portgroup: []string{"VM Network", "Management Network"}}}
	info.Pnic = nil
	for _, card := range w.opts.Uplinks {
		info.Pnic = append(info.Pnic, types.PhysicalNic{Key: "key-vim.host.PhysicalNic-" + card, Device: card, Driver: "vmxnet3"})
	}
	if len(w.opts.Uplinks) > 0 {
		info.Vswitch[0].Pnic = []string{"key-vim.host.PhysicalNic-" + w.opts.Uplinks[0]}
	}
	ns.NetworkInfo = &info
}

func (w *World) addDatastore(h *simulator.HostSystem, name string) error {
	dir := filepath.Join(w.dir, "vmfs", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	dss := w.model.Map().Get(*h.ConfigManager.DatastoreSystem).(*simulator.HostDatastoreSystem)
	ctx := w.model.Service.Context
	res := dss.CreateLocalDatastore(ctx, &types.CreateLocalDatastore{This: dss.Self, Name: name, Path: dir})
	if f := res.Fault(); f != nil {
		return errFault(f.VimFault())
	}
	for _, o := range w.model.Map().All("Datastore") {
		ds := o.(*simulator.Datastore)
		if ds.Name != name {
			continue
		}
		if _, local := ds.Info.(*types.LocalDatastoreInfo); local {
			info := *ds.Info.GetDatastoreInfo()
			ds.Info = &types.VmfsDatastoreInfo{DatastoreInfo: info, Vmfs: &types.HostVmfsVolume{HostFileSystemVolume: types.HostFileSystemVolume{Type: "VMFS", Name: name}, Version: "6.82", Uuid: name}}
			ds.Summary.Type = "VMFS"
		}
		w.setSpace(ds)
	}
	return nil
}

// setSpace says how large a datastore is, and where the host has it.
func (w *World) setSpace(ds *simulator.Datastore) {
	ds.Summary.Capacity, ds.Summary.FreeSpace = 1<<40, 1<<39
	ds.Info.GetDatastoreInfo().FreeSpace = ds.Summary.FreeSpace
	for i := range ds.Host {
		ds.Host[i].MountInfo.Path = "/vmfs/volumes/" + ds.Name
	}
}

// Free says how much room is left on a datastore.
func (w *World) Free(datastore string, bytes int64) {
	for _, o := range w.model.Map().All("Datastore") {
		if ds := o.(*simulator.Datastore); ds.Name == datastore {
			ds.Summary.FreeSpace = bytes
			ds.Info.GetDatastoreInfo().FreeSpace = bytes
		}
	}
}
