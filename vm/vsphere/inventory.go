package vsphere

import (
	"context"
	"errors"
	"slices"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/nodedb"
	"margay/vm"
)

// What is read of guests: as little as the question needs, since a host takes
// ten times as long over their hardware as over their names.
func briefProps() []string {
	return []string{"name", "runtime.powerState", "runtime.host"}
}

func summaryProps() []string {
	return append(briefProps(), "summary.config.uuid", "runtime.question", "runtime.connectionState", "summary.config.vmPathName",
		"summary.config.guestId", "summary.config.numCpu", "summary.config.memorySizeMB", "summary.config.template",
		"guest.ipAddress", "guest.toolsRunningStatus")
}

func detailProps() []string {
	return append(summaryProps(), "config", "snapshot")
}

// VMs returns guests in one pass over the endpoint. Detail of few guests among
// many takes a second request, for those alone.
func (c *Conn) VMs(ctx context.Context, q vm.Query) ([]vm.VM, error) {
	props := summaryProps()
	switch {
	case q.Brief:
		props = briefProps()
	case q.Detail && q.Names == nil:
		props = detailProps()
	case q.Detail:
		props = briefProps()
	}
	vms, hosts, err := c.scan(ctx, props)
	if err != nil {
		return nil, err
	}
	vms = named(vms, q.Names)
	if q.Detail && q.Names != nil && len(vms) > 0 {
		if vms, err = c.detail(ctx, vms); err != nil {
			return nil, err
		}
	}
	networks, err := c.portgroupNames(ctx, vms)
	if err != nil {
		return nil, err
	}
	out := make([]vm.VM, 0, len(vms))
	for i := range vms {
		out = append(out, toVM(&vms[i], hosts, networks))
	}
	return out, nil
}

func named(vms []mo.VirtualMachine, names []string) []mo.VirtualMachine {
	if names == nil {
		return vms
	}
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	return slices.DeleteFunc(vms, func(v mo.VirtualMachine) bool { return !want[v.Name] })
}

// scan reads properties of all guests, and on a vCenter the names of hosts, in
// one request.
func (c *Conn) scan(ctx context.Context, props []string) ([]mo.VirtualMachine, map[types.ManagedObjectReference]string, error) {
	sets := []types.PropertySpec{{Type: "VirtualMachine", PathSet: props}}
	kinds := []string{"VirtualMachine"}
	if c.about.Kind == vm.VPX {
		sets = append(sets, types.PropertySpec{Type: "HostSystem", PathSet: []string{"name"}})
		kinds = append(kinds, "HostSystem")
	}
	objects, err := c.retrieve(ctx, kinds, sets)
	if err != nil {
		return nil, nil, err
	}
	var vms []mo.VirtualMachine
	hosts := map[types.ManagedObjectReference]string{}
	for _, o := range objects {
		switch o.Obj.Type {
		case "VirtualMachine":
			v, ok := brief(o)
			if !ok {
				if err := mo.LoadObjectContent([]types.ObjectContent{o}, &v); err != nil {
					return nil, nil, err
				}
			}
			vms = append(vms, v)
		case "HostSystem":
			hosts[o.Obj] = stringProp(o, "name")
		}
	}
	return vms, hosts, nil
}

// brief reads a guest of which no more was asked than briefProps, without the
// general way's reflection: of thousands of guests that is half the work.
func brief(o types.ObjectContent) (mo.VirtualMachine, bool) {
	v := mo.VirtualMachine{}
	v.Self = o.Obj
	for _, p := range o.PropSet {
		switch val := p.Val.(type) {
		case string:
			if p.Name != "name" {
				return mo.VirtualMachine{}, false
			}
			v.Name = val
		case types.VirtualMachinePowerState:
			v.Runtime.PowerState = val
		case types.ManagedObjectReference:
			if p.Name != "runtime.host" {
				return mo.VirtualMachine{}, false
			}
			v.Runtime.Host = &val
		default:
			return mo.VirtualMachine{}, false
		}
	}
	return v, true
}

func stringProp(o types.ObjectContent, name string) string {
	for _, p := range o.PropSet {
		if p.Name == name {
			s, _ := p.Val.(string)
			return s
		}
	}
	return ""
}

// retrieve reads properties of everything of some kinds below the root. The
// view that walks there is made once a session.
func (c *Conn) retrieve(ctx context.Context, kinds []string, sets []types.PropertySpec) ([]types.ObjectContent, error) {
	for attempt := 0; ; attempt++ {
		view, err := c.view(ctx, kinds)
		if err != nil {
			return nil, wrap(err)
		}
		res, err := c.retrieveView(ctx, view, sets)
		if err == nil {
			return res, nil
		}
		if attempt > 0 || !errors.Is(wrap(err), vm.ErrNotFound) {
			return nil, wrap(err)
		}
		c.dropView(kinds) // it went with a session that ended
	}
}

func (c *Conn) retrieveView(ctx context.Context, view types.ManagedObjectReference, sets []types.PropertySpec) ([]types.ObjectContent, error) {
	req := types.RetrieveProperties{SpecSet: []types.PropertyFilterSpec{{
		ObjectSet: []types.ObjectSpec{{Obj: view, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{Type: "ContainerView", Path: "view"},
		}}},
		PropSet: sets,
		// A view that went with its session must be a fault, not an empty host.
		ReportMissingObjectsInResults: types.NewBool(false),
	}}}
	res, err := property.DefaultCollector(c.vc).RetrieveProperties(ctx, req)
	if err != nil {
		return nil, err
	}
	return res.Returnval, nil
}

func viewKey(kinds []string) string { return kinds[0] + "/" + kinds[len(kinds)-1] }

func (c *Conn) view(ctx context.Context, kinds []string) (types.ManagedObjectReference, error) {
	key := viewKey(kinds)
	c.viewMu.Lock()
	ref, ok := c.views[key]
	c.viewMu.Unlock()
	if ok {
		return ref, nil
	}
	res, err := methods.CreateContainerView(ctx, c.vc, &types.CreateContainerView{
		This: *c.vc.ServiceContent.ViewManager, Container: c.vc.ServiceContent.RootFolder, Type: kinds, Recursive: true})
	if err != nil {
		return ref, err
	}
	c.viewMu.Lock()
	c.views[key] = res.Returnval
	c.viewMu.Unlock()
	return res.Returnval, nil
}

func (c *Conn) dropView(kinds []string) {
	c.viewMu.Lock()
	delete(c.views, viewKey(kinds))
	c.viewMu.Unlock()
}

func (c *Conn) detail(ctx context.Context, vms []mo.VirtualMachine) ([]mo.VirtualMachine, error) {
	refs := make([]types.ManagedObjectReference, len(vms))
	for i, v := range vms {
		refs[i] = v.Self
	}
	var out []mo.VirtualMachine
	err := property.DefaultCollector(c.vc).Retrieve(ctx, refs, detailProps(), &out)
	return out, wrap(err)
}

// portgroupNames are the names of the distributed port groups that guests'
// cards are on.
func (c *Conn) portgroupNames(ctx context.Context, vms []mo.VirtualMachine) (map[string]string, error) {
	var refs []types.ManagedObjectReference
	seen := map[string]bool{}
	for _, v := range vms {
		if v.Config == nil {
			continue
		}
		for _, d := range v.Config.Hardware.Device {
			b, ok := d.GetVirtualDevice().Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
			if ok && !seen[b.Port.PortgroupKey] {
				seen[b.Port.PortgroupKey] = true
				refs = append(refs, types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey})
			}
		}
	}
	if len(refs) == 0 {
		return nil, nil
	}
	var groups []mo.DistributedVirtualPortgroup
	if err := property.DefaultCollector(c.vc).Retrieve(ctx, refs, []string{"name"}, &groups); err != nil {
		return nil, wrap(err)
	}
	names := map[string]string{}
	for _, g := range groups {
		names[g.Self.Value] = g.Name
	}
	return names, nil
}

func toVM(v *mo.VirtualMachine, hosts map[types.ManagedObjectReference]string, networks map[string]string) vm.VM {
	s := v.Summary.Config
	out := vm.VM{
		ID: v.Self.Value, Name: v.Name, State: state(v.Runtime.PowerState), UUID: s.Uuid,
		GuestID: s.GuestId, CPUs: int(s.NumCpu), MemoryMB: int64(s.MemorySizeMB), Template: s.Template,
	}
	if v.Runtime.Host != nil {
		out.Host = hosts[*v.Runtime.Host]
	}
	switch v.Runtime.ConnectionState {
	case types.VirtualMachineConnectionStateInvalid, types.VirtualMachineConnectionStateInaccessible, types.VirtualMachineConnectionStateOrphaned:
		out.Invalid = true
	}
	out.Path, _ = vm.ParsePath(s.VmPathName)
	if q := v.Runtime.Question; q != nil {
		out.Question = question(q)
	}
	if v.Guest != nil {
		out.Address = v.Guest.IpAddress
		out.Tools = v.Guest.ToolsRunningStatus == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	}
	if v.Config != nil && v.Config.Name != "" {
		out.Spec = toSpec(v.Config, networks)
		out.Template = v.Config.Template
	}
	if v.Snapshot != nil {
		out.Snapshots = snapshotNames(v.Snapshot.RootSnapshotList)
	}
	return out
}

func state(s types.VirtualMachinePowerState) nodedb.PowerState {
	switch s {
	case types.VirtualMachinePowerStatePoweredOn:
		return nodedb.PowerOn
	case types.VirtualMachinePowerStatePoweredOff:
		return nodedb.PowerOff
	case types.VirtualMachinePowerStateSuspended:
		return nodedb.PowerSuspended
	}
	return nodedb.PowerUnknown
}

func snapshotNames(list []types.VirtualMachineSnapshotTree) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Name)
		out = append(out, snapshotNames(s.ChildSnapshotList)...)
	}
	return out
}
