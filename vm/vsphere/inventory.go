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
func briefProps(q vm.Query) []string {
	props := []string{"name"}
	if !q.NoState {
		props = append(props, "runtime.powerState")
	}
	return props
}

func summaryProps() []string {
	return []string{"name", "runtime.powerState", "runtime.host", "summary.config.uuid", "runtime.question", "runtime.connectionState", "summary.config.vmPathName",
		"summary.config.guestId", "summary.config.numCpu", "summary.config.memorySizeMB", "summary.config.template",
		"guest.ipAddress", "guest.toolsRunningStatus"}
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
		props = briefProps(q)
	case q.Detail && q.Names == nil:
		props = detailProps()
	case q.Detail:
		props = briefProps(vm.Query{NoState: true})
	}
	objects, hosts, err := c.scan(ctx, props)
	if err != nil {
		return nil, err
	}
	objects = named(objects, q.Names)
	if !q.Detail {
		return plain(objects, hosts)
	}
	vms, err := c.detail(ctx, objects, q.Names != nil)
	if err != nil {
		return nil, err
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

func named(objects []types.ObjectContent, names []string) []types.ObjectContent {
	if names == nil {
		return objects
	}
	want := make(map[string]bool, len(names))
	for _, n := range names {
		want[n] = true
	}
	return slices.DeleteFunc(objects, func(o types.ObjectContent) bool { return !want[stringProp(o, "name")] })
}

// scan reads properties of all guests, and on a vCenter the names of hosts and
// which guests each has, in one request. hosts is by host and by guest: a
// host's list of its guests is shorter than the host of each guest would be.
func (c *Conn) scan(ctx context.Context, props []string) (guests []types.ObjectContent, hosts map[types.ManagedObjectReference]string, err error) {
	sets := []types.PropertySpec{{Type: "VirtualMachine", PathSet: props}}
	kinds := []string{"VirtualMachine"}
	if c.about.Kind == vm.VPX {
		sets = append(sets, types.PropertySpec{Type: "HostSystem", PathSet: []string{"name", "vm"}})
		kinds = append(kinds, "HostSystem")
	}
	objects, err := c.retrieve(ctx, kinds, sets)
	if err != nil {
		return nil, nil, err
	}
	hosts = map[types.ManagedObjectReference]string{}
	guests = objects[:0]
	for _, o := range objects {
		switch o.Obj.Type {
		case "VirtualMachine":
			guests = append(guests, o)
		case "HostSystem":
			name := stringProp(o, "name")
			hosts[o.Obj] = name
			for _, p := range o.PropSet {
				list, _ := p.Val.(types.ArrayOfManagedObjectReference)
				for _, guest := range list.ManagedObjectReference {
					hosts[guest] = name
				}
			}
		}
	}
	return guests, hosts, nil
}

// plain reads guests of which no detail was asked.
func plain(objects []types.ObjectContent, hosts map[types.ManagedObjectReference]string) ([]vm.VM, error) {
	out := make([]vm.VM, 0, len(objects))
	for i := range objects {
		v, ok := quickVM(&objects[i], hosts)
		if !ok {
			var m mo.VirtualMachine
			if err := mo.LoadObjectContent(objects[i:i+1], &m); err != nil {
				return nil, err
			}
			v = toVM(&m, hosts, nil)
		}
		out = append(out, v)
	}
	return out, nil
}

// quickVM is toVM without the general way's reflection, for guests whose
// properties are all plain: of thousands of guests that is most of the work.
func quickVM(o *types.ObjectContent, hosts map[types.ManagedObjectReference]string) (vm.VM, bool) {
	v := vm.VM{ID: o.Obj.Value, State: nodedb.PowerUnknown, Host: hosts[o.Obj]}
	if len(o.MissingSet) > 0 {
		return v, false
	}
	for i := range o.PropSet {
		p := &o.PropSet[i]
		known := true
		switch val := p.Val.(type) {
		case string:
			known = quickString(&v, p.Name, val)
		case types.VirtualMachinePowerState:
			v.State = state(val)
		case types.VirtualMachineConnectionState:
			v.Invalid = invalid(val)
		case types.ManagedObjectReference:
			v.Host, known = hosts[val], p.Name == "runtime.host"
		case bool:
			v.Template, known = val, p.Name == "summary.config.template"
		case int32:
			switch p.Name {
			case "summary.config.numCpu":
				v.CPUs = int(val)
			case "summary.config.memorySizeMB":
				v.MemoryMB = int64(val)
			default:
				known = false
			}
		default:
			known = false
		}
		if !known {
			return vm.VM{}, false
		}
	}
	return v, true
}

func quickString(v *vm.VM, name, val string) bool {
	switch name {
	case "name":
		v.Name = val
	case "summary.config.uuid":
		v.UUID = val
	case "summary.config.vmPathName":
		v.Path, _ = vm.ParsePath(val)
	case "summary.config.guestId":
		v.GuestID = val
	case "guest.ipAddress":
		v.Address = val
	case "guest.toolsRunningStatus":
		v.Tools = val == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	default:
		return false
	}
	return true
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
		c.dropView(kinds, view) // it went with a session that ended
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
	seen := c.loginCount()
	res, err := methods.CreateContainerView(ctx, c.vc, &types.CreateContainerView{
		This: *c.vc.ServiceContent.ViewManager, Container: c.vc.ServiceContent.RootFolder, Type: kinds, Recursive: true})
	if err != nil {
		return ref, err
	}
	if c.loginCount() != seen {
		return res.Returnval, nil // it may be of the session that has ended
	}
	c.viewMu.Lock()
	c.views[key] = res.Returnval
	c.viewMu.Unlock()
	return res.Returnval, nil
}

// dropView forgets a view that went with a session that ended.
func (c *Conn) dropView(kinds []string, view types.ManagedObjectReference) {
	c.viewMu.Lock()
	defer c.viewMu.Unlock()
	if key := viewKey(kinds); c.views[key] == view {
		delete(c.views, key)
	}
}

// detail is all of guests, read again unless objects hold it already.
func (c *Conn) detail(ctx context.Context, objects []types.ObjectContent, again bool) (out []mo.VirtualMachine, err error) {
	if len(objects) == 0 {
		return nil, nil
	}
	if !again {
		return out, mo.LoadObjectContent(objects, &out)
	}
	refs := make([]types.ManagedObjectReference, len(objects))
	for i := range objects {
		refs[i] = objects[i].Obj
	}
	err = property.DefaultCollector(c.vc).Retrieve(ctx, refs, detailProps(), &out)
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
	out.Invalid = invalid(v.Runtime.ConnectionState)
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

// invalid says whether a guest's files cannot be read.
func invalid(s types.VirtualMachineConnectionState) bool {
	switch s {
	case types.VirtualMachineConnectionStateInvalid, types.VirtualMachineConnectionStateInaccessible, types.VirtualMachineConnectionStateOrphaned:
		return true
	}
	return false
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
