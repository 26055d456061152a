package vmtest

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// vcsim finds a method by its name on the object that the session's own
// registry holds, and falls back to the common one. What follows are objects
// that embed vcsim's and have more or stricter methods; each session gets them
// as it first names them, while vcsim's own code goes on seeing its own.
type (
	vmObject struct {
		*simulator.VirtualMachine
		w *World
	}
	folderObject struct {
		*simulator.Folder
		w *World
	}
	datastores struct {
		*simulator.HostDatastoreSystem
		w *World
	}
	networks struct {
		*simulator.HostNetworkSystem
		w *World
	}
	hostObject struct {
		*simulator.HostSystem
		w *World
	}
	disks struct {
		*simulator.VirtualDiskManager
		w *World
	}
	firewall struct {
		*simulator.HostFirewallSystem
		w *World
	}
	clusterObject struct {
		*simulator.ClusterComputeResource
		w *World
	}
	fileManager struct {
		*simulator.FileManager
		w *World
	}
	nicManager struct {
		*simulator.HostVirtualNicManager
		w *World
	}
	browser struct {
		*simulator.EnvironmentBrowser
		w *World
	}
	snapshotObject struct {
		*simulator.VirtualMachineSnapshot
		w *World
	}
	licences struct {
		*simulator.LicenseManager
		w *World
	}
	computeResource struct {
		*mo.ComputeResource
		w *World
	}
)

// readOnly are the methods that the free licence lets pass.
func readOnly(method string) bool {
	switch method {
	case "RetrieveServiceContent", "Login", "Logout", "RetrieveProperties", "RetrievePropertiesEx", "ContinueRetrievePropertiesEx",
		"CreateFilter", "DestroyPropertyFilter", "CreatePropertyCollector", "DestroyPropertyCollector", "WaitForUpdatesEx", "WaitForUpdates",
		"CancelWaitForUpdates", "CreateContainerView", "DestroyView", "FindByInventoryPath", "FindByUuid", "FindByIp", "CurrentTime",
		"SessionIsActive", "QueryPerf", "QueryNetConfig", "QueryConfigOptionEx", "QueryConfigOption", "QueryAvailableDisksForVmfs", "SearchDatastore_Task", "SearchDatastoreSubFolders_Task", "TerminateSession":
		return true
	}
	return false
}

// handle sees every call before vcsim does.
func (w *World) handle(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	ours := ctx.Session != nil && ctx.Session.UserName == insider
	if !ours {
		if f := w.note(m); f != nil {
			return nil, f
		}
		if w.restricted.Load() && !readOnly(m.Name) {
			return nil, &types.RestrictedVersion{}
		}
	}
	if ctx.Session == nil {
		return nil, nil
	}
	if !ours {
		w.mu.Lock()
		w.keys[ctx.Session.Key] = true
		w.mu.Unlock()
	}
	overlay := ctx.Session.Registry
	if overlay.Get(m.This) != nil {
		return nil, nil
	}
	if o := w.wrapped(ctx.Map.Get(m.This)); o != nil {
		overlay.Put(o)
		w.mu.Lock()
		w.overlays = append(w.overlays, overlay)
		w.mu.Unlock()
	}
	return nil, nil
}

// note records a call, and refuses it if a test wants it so.
func (w *World) note(m *simulator.Method) types.BaseMethodFault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, m.This.Type+"."+m.Name)
	r := w.refuse[m.Name]
	if r == nil || r.times == 0 {
		return nil
	}
	r.times--
	return r.fault
}

func (w *World) wrapped(o mo.Reference) mo.Reference {
	switch o := o.(type) {
	case *simulator.VirtualMachine:
		return &vmObject{o, w}
	case *simulator.Folder:
		return &folderObject{o, w}
	case *simulator.HostDatastoreSystem:
		return &datastores{o, w}
	case *simulator.HostNetworkSystem:
		return &networks{o, w}
	case *simulator.HostSystem:
		return &hostObject{o, w}
	case *simulator.VirtualDiskManager:
		return &disks{o, w}
	case *simulator.HostFirewallSystem:
		return &firewall{o, w}
	case *simulator.ClusterComputeResource:
		return &clusterObject{o, w}
	case *mo.ComputeResource:
		return &computeResource{o, w}
	case *simulator.OvfManager:
		return &ovfManager{o, w}
	case *simulator.LicenseManager:
		return &licences{o, w}
	case *simulator.FileManager:
		return &fileManager{o, w}
	case *simulator.HostVirtualNicManager:
		return &nicManager{o, w}
	case *simulator.EnvironmentBrowser:
		return &browser{o, w}
	case *simulator.VirtualMachineSnapshot:
		return &snapshotObject{o, w}
	case *simulator.ResourcePool:
		return &poolObject{o, w}
	}
	return nil
}

// Reference makes the World one of the registry's observers.
func (w *World) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "World", Value: "world"}
}

// PutObject sees a guest come about.
func (w *World) PutObject(_ *simulator.Context, o mo.Reference) { w.lockHalf(o) }

// UpdateObject plugs in the serial ports of guests that are turned on, and
// unplugs those of guests that are turned off, however that came about. It sees
// the tasks end that make guests.
func (w *World) UpdateObject(ctx *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	if _, ok := o.(*mo.Task); ok {
		w.unlockHalf(ctx, changes)
		return
	}
	v, ok := o.(*mo.VirtualMachine)
	if !ok {
		return
	}
	for _, ch := range changes {
		if ch.Name != "runtime.powerState" {
			continue
		}
		if ch.Val == types.VirtualMachinePowerStatePoweredOn {
			w.plug(v)
		} else {
			go w.unplug(v.Name)
		}
	}
}

// RemoveObject takes what is gone out of the sessions' registries too. Other
// kinds than these are removed with the session's own lock held.
func (w *World) RemoveObject(ctx *simulator.Context, ref types.ManagedObjectReference) {
	switch ref.Type {
	case "VirtualMachine", "HostSystem", "Folder", "VirtualMachineSnapshot":
	default:
		return
	}
	w.mu.Lock()
	overlays := append([]*simulator.Registry(nil), w.overlays...)
	w.mu.Unlock()
	for _, o := range overlays {
		if o.Get(ref) != nil {
			o.Remove(ctx, ref)
		}
	}
}

// failing is a task that ends with a fault at once.
func failing(ctx *simulator.Context, on mo.Reference, name string, f types.BaseMethodFault) types.ManagedObjectReference {
	return simulator.CreateTask(on, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, f }).Run(ctx)
}

// inner waits for a task that vcsim runs within one of ours.
func inner(ctx *simulator.Context, ref types.ManagedObjectReference) (types.AnyType, types.BaseMethodFault) {
	t := ctx.Map.Get(ref).(*simulator.Task)
	t.Wait()
	if t.Info.Error != nil {
		return nil, t.Info.Error.Fault
	}
	return t.Info.Result, nil
}
