package vmtest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func (x *vmObject) checker(ctx *simulator.Context) *checker {
	return &checker{w: x.w, ctx: ctx, host: ctx.Map.Get(*x.Runtime.Host).(*simulator.HostSystem), cfg: x.Config,
		on: x.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn, have: object.VirtualDeviceList(x.Config.Hardware.Device), keys: map[int32]int32{}}
}

// ReconfigVMTask checks the request, lets vcsim do it, and puts the devices
// back in their order.
func (x *vmObject) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	body := &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{}}
	keepClaim(req.Spec.CpuAllocation, x.Config.CpuAllocation)
	keepClaim(req.Spec.MemoryAllocation, x.Config.MemoryAllocation)
	f := x.checker(ctx).check(&req.Spec)
	if f == nil && len(x.snapshots()) > 0 && growsDisk(x.Config, &req.Spec) {
		f = &types.InvalidDeviceOperation{}
	}
	if f != nil {
		body.Res.Returnval = failing(ctx, x.VirtualMachine, "reconfigVm", f)
		return body
	}
	x.w.nameDisks(x.Config.Files.VmPathName, x.Config.Name, req.Spec.DeviceChange)
	body.Res.Returnval = simulator.CreateTask(x.VirtualMachine, "reconfigVm", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		r := x.VirtualMachine.ReconfigVMTask(ctx, req).(*methods.ReconfigVM_TaskBody)
		if _, f := inner(ctx, r.Res.Returnval); f != nil {
			return nil, f
		}
		x.sort(ctx)
		return nil, nil
	}).Run(ctx)
	return body
}

// keepClaim fills in what a request leaves as it is; vcsim forgets it.
func keepClaim(a, have *types.ResourceAllocationInfo) {
	if a == nil || have == nil {
		return
	}
	if a.Reservation == nil {
		a.Reservation = have.Reservation
	}
	if a.Limit == nil {
		a.Limit = have.Limit
	}
	if a.Shares == nil {
		a.Shares = have.Shares
	}
}

func (x *vmObject) snapshots() []types.VirtualMachineSnapshotTree {
	if x.Snapshot == nil {
		return nil
	}
	return x.Snapshot.RootSnapshotList
}

func growsDisk(cfg *types.VirtualMachineConfigInfo, spec *types.VirtualMachineConfigSpec) bool {
	for _, ch := range spec.DeviceChange {
		d := ch.GetVirtualDeviceConfigSpec()
		disk, ok := d.Device.(*types.VirtualDisk)
		if !ok || d.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			continue
		}
		old, ok := object.VirtualDeviceList(cfg.Hardware.Device).FindByKey(disk.Key).(*types.VirtualDisk)
		if ok && disk.CapacityInKB > old.CapacityInKB {
			return true
		}
	}
	return false
}

// sort puts the devices in the order of their keys' kinds: vcsim moves one
// that is edited to the end.
func (x *vmObject) sort(ctx *simulator.Context) {
	devices := slices.Clone(x.Config.Hardware.Device)
	slices.SortStableFunc(devices, func(a, b types.BaseVirtualDevice) int {
		return int(a.GetVirtualDevice().Key - b.GetVirtualDevice().Key)
	})
	ctx.Update(x.VirtualMachine, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
}

// PowerOnVMTask turns the guest on if its disks and addresses are right, and
// asks first what a test wants asked.
func (x *vmObject) PowerOnVMTask(ctx *simulator.Context, req *types.PowerOnVM_Task) soap.HasFault {
	if f := x.bootable(); f != nil {
		return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: failing(ctx, x.VirtualMachine, "powerOn", f)}}
	}
	q := x.w.takeQuestion(x.Name)
	if q == nil {
		return x.VirtualMachine.PowerOnVMTask(ctx, req)
	}
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: x.blocked(ctx, q)}}
}

// bootable checks what a host looks at when a guest starts.
func (x *vmObject) bootable() types.BaseMethodFault {
	checked := map[string]bool{}
	for _, o := range x.Config.ExtraConfig {
		v := o.GetOptionValue()
		if s, ok := v.Value.(string); ok && strings.HasSuffix(strings.ToLower(v.Key), ".checkmacaddress") {
			checked[strings.ToLower(v.Key)] = !strings.EqualFold(s, "false")
		}
	}
	n := 0
	for _, d := range x.Config.Hardware.Device {
		switch d := d.(type) {
		case types.BaseVirtualEthernetCard:
			c := d.GetVirtualEthernetCard()
			hw, _ := net.ParseMAC(c.MacAddress)
			if len(hw) == 6 && hw[0] == 0 && hw[1] == 0x50 && hw[2] == 0x56 && hw[3] >= 0x40 && hw[3] < 0x80 {
				return &types.GenericVmConfigFault{Reason: c.MacAddress + " is not a valid static Ethernet address"}
			}
			n++
		case *types.VirtualDisk:
			b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo)
			if !ok {
				continue
			}
			name := b.GetVirtualDeviceFileBackingInfo().FileName
			if _, err := os.Stat(x.w.File(name)); err != nil {
				return &types.FileNotFound{FileFault: types.FileFault{File: name}}
			}
		}
	}
	return nil
}

// blocked is a power-on that waits for an answer. Answer 0 cancels it.
func (x *vmObject) blocked(ctx *simulator.Context, q *types.VirtualMachineQuestionInfo) types.ManagedObjectReference {
	t := simulator.CreateTask(x.VirtualMachine, "powerOn", nil)
	x.w.mu.Lock()
	answer := make(chan string, 1)
	x.w.pending[x.Self] = answer
	t.Self = types.ManagedObjectReference{Type: "Task", Value: "blocked-" + x.Self.Value + "-" + q.Id}
	x.w.mu.Unlock()
	t.Info.Key, t.Info.Task, t.Info.State = t.Self.Value, t.Self, types.TaskInfoStateRunning
	ctx.Map.Put(t)
	x.setQuestion(ctx, q)
	bg := &simulator.Context{Context: context.Background(), Map: ctx.Map, Session: ctx.Session}
	go func() {
		key := <-answer
		ctx.Map.WithLock(bg, x.VirtualMachine, func() { x.setQuestion(bg, nil) })
		change := []types.PropertyChange{{Name: "info.state", Val: types.TaskInfoStateError},
			{Name: "info.error", Val: types.LocalizedMethodFault{Fault: &types.InvalidState{}, LocalizedMessage: "The operation was cancelled by the answer to a question."}}}
		if key != "0" {
			ctx.Map.WithLock(bg, x.VirtualMachine, func() {
				on := types.VirtualMachinePowerStatePoweredOn
				ctx.Map.Update(bg, x.VirtualMachine, []types.PropertyChange{{Name: "runtime.powerState", Val: on}, {Name: "summary.runtime.powerState", Val: on}})
			})
			change = []types.PropertyChange{{Name: "info.state", Val: types.TaskInfoStateSuccess}}
		}
		ctx.Map.AtomicUpdate(bg, t, change)
	}()
	return t.Self
}

func (x *vmObject) setQuestion(ctx *simulator.Context, q *types.VirtualMachineQuestionInfo) {
	var val any
	if q != nil {
		val = q
	}
	ctx.Map.Update(ctx, x.VirtualMachine, []types.PropertyChange{{Name: "runtime.question", Val: val}, {Name: "summary.runtime.question", Val: val}})
}

// AnswerVM answers a question that waits.
func (x *vmObject) AnswerVM(req *types.AnswerVM) soap.HasFault {
	x.w.mu.Lock()
	answer := x.w.pending[x.Self]
	delete(x.w.pending, x.Self)
	x.w.mu.Unlock()
	if answer == nil {
		return &methods.AnswerVMBody{Fault_: simulator.Fault("", invalid("questionId"))}
	}
	answer <- req.AnswerChoice
	return &methods.AnswerVMBody{Res: &types.AnswerVMResponse{}}
}

// Ask makes the next power-on of a guest ask a question first. The answer "0"
// cancels.
func (w *World) Ask(guest string, q *types.VirtualMachineQuestionInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks[guest] = q
}

func (w *World) takeQuestion(guest string) *types.VirtualMachineQuestionInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.asks[guest]
	delete(w.asks, guest)
	return q
}

// Moved is the question that a host asks when a guest's files have moved.
func Moved() *types.VirtualMachineQuestionInfo {
	choice := func(key, label, text string) types.BaseElementDescription {
		return &types.ElementDescription{Description: types.Description{Label: label, Summary: text}, Key: key}
	}
	return &types.VirtualMachineQuestionInfo{Id: "7", Text: "msg.uuid.altered:This virtual machine might have been moved or copied.",
		Choice: types.ChoiceOption{DefaultIndex: 2, ChoiceInfo: []types.BaseElementDescription{
			choice("0", "button.uuid.cancel", "Cancel"), choice("1", "button.uuid.movedTheVM", "I _moved it"), choice("2", "button.uuid.copiedTheVM", "I _copied it"),
		}}}
}

// ShutdownGuest needs VMware Tools.
func (x *vmObject) ShutdownGuest(ctx *simulator.Context, req *types.ShutdownGuest) soap.HasFault {
	if x.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return &methods.ShutdownGuestBody{Fault_: simulator.Fault("", wrongState(x.Runtime.PowerState, types.VirtualMachinePowerStatePoweredOn))}
	}
	if x.Guest == nil || x.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		return &methods.ShutdownGuestBody{Fault_: simulator.Fault("", &types.ToolsUnavailable{})}
	}
	return x.VirtualMachine.ShutdownGuest(ctx, req)
}

// CloneVMTask is a vCenter's; a linked clone shares the disks of a snapshot.
func (x *vmObject) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	if ctx.Map.IsESX() {
		return &methods.CloneVM_TaskBody{Fault_: simulator.Fault("The operation is not supported on the object.", &types.NotSupported{})}
	}
	x.w.mu.Lock()
	spec := req.Spec
	x.w.lastClone = &spec
	x.w.mu.Unlock()
	linked := req.Spec.Location.DiskMoveType == string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)
	if linked && req.Spec.Snapshot == nil {
		return &methods.CloneVM_TaskBody{Fault_: simulator.Fault("", invalid("spec.snapshot"))}
	}
	body := &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{}}
	body.Res.Returnval = simulator.CreateTask(x.VirtualMachine, "cloneVm", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		r := x.VirtualMachine.CloneVMTask(ctx, req).(*methods.CloneVM_TaskBody)
		if r.Fault() != nil {
			return nil, &types.InvalidState{}
		}
		ref, f := inner(ctx, r.Res.Returnval)
		if f == nil && linked {
			x.link(ctx, ref.(types.ManagedObjectReference))
		}
		return ref, f
	}).Run(ctx)
	return body
}

// link makes a clone's disks children of this guest's.
func (x *vmObject) link(ctx *simulator.Context, ref types.ManagedObjectReference) {
	clone := ctx.Map.Get(ref).(*simulator.VirtualMachine)
	parents := object.VirtualDeviceList(x.Config.Hardware.Device)
	ctx.WithLock(clone, func() {
		for _, d := range clone.Config.Hardware.Device {
			disk, ok := d.(*types.VirtualDisk)
			if !ok {
				continue
			}
			if p, ok := parents.FindByKey(disk.Key).(*types.VirtualDisk); ok {
				disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Parent = p.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			}
		}
	})
}

// MarkAsTemplate is a vCenter's.
func (x *vmObject) MarkAsTemplate(ctx *simulator.Context, req *types.MarkAsTemplate) soap.HasFault {
	if ctx.Map.IsESX() {
		return &methods.MarkAsTemplateBody{Fault_: simulator.Fault("", &types.NotSupported{})}
	}
	return x.VirtualMachine.MarkAsTemplate(req)
}

// MigrateVMTask moves the guest, if the target has what it needs.
func (x *vmObject) MigrateVMTask(ctx *simulator.Context, req *types.MigrateVM_Task) soap.HasFault {
	body := &methods.MigrateVM_TaskBody{Res: &types.MigrateVM_TaskResponse{}}
	if ctx.Map.IsESX() {
		body.Res, body.Fault_ = nil, simulator.Fault("", &types.NotSupported{})
		return body
	}
	target := ctx.Map.Get(*req.Host).(*simulator.HostSystem)
	if f := x.fits(ctx, target); f != nil {
		body.Res.Returnval = failing(ctx, x.VirtualMachine, "migrateVm", f)
		return body
	}
	source := ctx.Map.Get(*x.Runtime.Host).(*simulator.HostSystem)
	body.Res.Returnval = simulator.CreateTask(x.VirtualMachine, "migrateVm", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		r := x.VirtualMachine.RelocateVMTask(ctx, &types.RelocateVM_Task{This: req.This, Spec: types.VirtualMachineRelocateSpec{Host: req.Host, Pool: req.Pool}})
		_, f := inner(ctx, r.(*methods.RelocateVM_TaskBody).Res.Returnval)
		if f == nil { // vcsim forgets these
			ctx.Map.RemoveReference(ctx, source, &source.Vm, x.Self)
			ctx.Map.AppendReference(ctx, target, &target.Vm, x.Self)
		}
		return nil, f
	}).Run(ctx)
	return body
}

// RelocateVMTask moves the guest's files, and what it says of them: vcsim moves
// neither.
func (x *vmObject) RelocateVMTask(ctx *simulator.Context, req *types.RelocateVM_Task) soap.HasFault {
	body := &methods.RelocateVM_TaskBody{Res: &types.RelocateVM_TaskResponse{}}
	if ctx.Map.IsESX() {
		body.Res, body.Fault_ = nil, simulator.Fault("", &types.NotSupported{})
		return body
	}
	body.Res.Returnval = simulator.CreateTask(x.VirtualMachine, "relocateVm", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		r := x.VirtualMachine.RelocateVMTask(ctx, req).(*methods.RelocateVM_TaskBody)
		_, f := inner(ctx, r.Res.Returnval)
		if f == nil && req.Spec.Datastore != nil {
			x.moveFiles(ctx, ctx.Map.Get(*req.Spec.Datastore).(*simulator.Datastore).Name)
		}
		return nil, f
	}).Run(ctx)
	return body
}

func (x *vmObject) moveFiles(ctx *simulator.Context, to string) {
	moved := func(path string) string {
		_, file := splitPath(path)
		return "[" + to + "] " + file
	}
	devices := slices.Clone(x.Config.Hardware.Device)
	for _, d := range devices {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			from := b.FileName
			b.FileName = moved(from)
			x.w.moveFile(from, b.FileName)
			x.w.moveFile(flat(from), flat(b.FileName))
		}
	}
	home := x.Config.Files.VmPathName
	x.w.moveFile(home, moved(home))
	ctx.Update(x.VirtualMachine, []types.PropertyChange{
		{Name: "config.hardware.device", Val: devices}, {Name: "config.files.vmPathName", Val: moved(home)}, {Name: "summary.config.vmPathName", Val: moved(home)},
	})
}

func flat(vmdk string) string { return strings.TrimSuffix(vmdk, ".vmdk") + "-flat.vmdk" }

func (w *World) moveFile(from, to string) {
	if from == to {
		return
	}
	_ = os.MkdirAll(filepath.Dir(w.File(to)), 0o755)
	_ = os.Rename(w.File(from), w.File(to))
}

// fits says what a target lacks that the guest needs.
func (x *vmObject) fits(ctx *simulator.Context, target *simulator.HostSystem) types.BaseMethodFault {
	for _, ds := range x.Datastore {
		if simulator.FindReference(target.Datastore, ds) == nil {
			return &types.InaccessibleDatastore{}
		}
	}
	for _, d := range x.Config.Hardware.Device {
		if c, ok := d.(types.BaseVirtualEthernetCard); ok {
			b, ok := c.GetVirtualEthernetCard().Backing.(*types.VirtualEthernetCardNetworkBackingInfo)
			if ok && !hasNetwork(ctx, target, b.DeviceName) {
				return &types.CannotAccessNetwork{}
			}
		}
	}
	return nil
}

// UnregisterVM leaves a .vmx behind that says what the guest was.
func (x *vmObject) UnregisterVM(ctx *simulator.Context, req *types.UnregisterVM) soap.HasFault {
	x.w.leaving.Lock()
	defer x.w.leaving.Unlock()
	x.w.writeVMX(x.VirtualMachine)
	return x.VirtualMachine.UnregisterVM(ctx, req)
}

// SetTools says whether VMware Tools runs in a guest, and its address.
func (w *World) SetTools(guest string, running bool, address string) {
	status := types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
	if running {
		status = types.VirtualMachineToolsRunningStatusGuestToolsRunning
	}
	m := w.model.Map()
	for _, o := range m.All("VirtualMachine") {
		v := o.(*simulator.VirtualMachine)
		if v.Name != guest {
			continue
		}
		ctx := &simulator.Context{Context: context.Background(), Map: m}
		m.WithLock(ctx, v, func() {
			m.Update(ctx, v, []types.PropertyChange{{Name: "guest.toolsRunningStatus", Val: string(status)}, {Name: "guest.ipAddress", Val: address}})
		})
	}
}
