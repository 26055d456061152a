package vmtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// CreateSnapshotTask takes a snapshot; without Tools a guest that runs cannot
// be stilled.
func (x *vmObject) CreateSnapshotTask(ctx *simulator.Context, req *types.CreateSnapshot_Task) soap.HasFault {
	var f types.BaseMethodFault
	switch {
	case req.Name == "" || len(req.Name) > 80:
		f = &types.InvalidName{Name: req.Name}
	case x.Config.Template:
		f = &types.NotSupported{}
	case req.Quiesce && x.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn && x.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning):
		f = &types.ApplicationQuiesceFault{}
	}
	if f != nil {
		return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: failing(ctx, x.VirtualMachine, "createSnapshot", f)}}
	}
	return x.VirtualMachine.CreateSnapshotTask(ctx, req)
}

// RevertToSnapshotTask makes the guest's hardware and power what they were;
// vcsim only remembers which snapshot is the current one.
func (x *snapshotObject) RevertToSnapshotTask(ctx *simulator.Context, req *types.RevertToSnapshot_Task) soap.HasFault {
	v := ctx.Map.Get(x.Vm).(*simulator.VirtualMachine)
	run := func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		r := x.VirtualMachineSnapshot.RevertToSnapshotTask(ctx, req).(*methods.RevertToSnapshot_TaskBody)
		if _, f := inner(ctx, r.Res.Returnval); f != nil {
			return nil, f
		}
		t := treeOf(v.Snapshot.RootSnapshotList, x.Self)
		ctx.WithLock(v, func() {
			ctx.Update(v, []types.PropertyChange{
				{Name: "runtime.powerState", Val: t.State}, {Name: "summary.runtime.powerState", Val: t.State},
				{Name: "config.hardware", Val: x.Config.Hardware},
				{Name: "summary.config.memorySizeMB", Val: x.Config.Hardware.MemoryMB}, {Name: "summary.config.numCpu", Val: x.Config.Hardware.NumCPU},
			})
		})
		return nil, nil
	}
	return &methods.RevertToSnapshot_TaskBody{Res: &types.RevertToSnapshot_TaskResponse{Returnval: simulator.CreateTask(x.Vm, "revertToSnapshot", run).Run(ctx)}}
}

func treeOf(list []types.VirtualMachineSnapshotTree, ref types.ManagedObjectReference) *types.VirtualMachineSnapshotTree {
	for i := range list {
		if list[i].Snapshot == ref {
			return &list[i]
		}
		if t := treeOf(list[i].ChildSnapshotList, ref); t != nil {
			return t
		}
	}
	return nil
}

// snapshotTree is how vim-cmd prints snapshots.
func (s *Shell) snapshotTree(v *simulator.VirtualMachine) (out string) {
	var print func(list []types.VirtualMachineSnapshotTree, depth int)
	print = func(list []types.VirtualMachineSnapshotTree, depth int) {
		for _, t := range list {
			bars := strings.Repeat("--", depth)
			if depth == 0 {
				out += "|-ROOT\n"
			} else {
				out += bars + "|-CHILD\n"
			}
			bars += "--"
			state := map[types.VirtualMachinePowerState]string{"poweredOn": "powered on", "poweredOff": "powered off", "suspended": "suspended"}[t.State]
			out += fmt.Sprintf("%[1]sSnapshot Name        : %[2]s\n%[1]sSnapshot Id        : %[3]d\n%[1]sSnapshot Desciption  : %[4]s\n%[1]sSnapshot Created On  : %[5]s\n%[1]sSnapshot State       : %[6]s\n",
				bars, t.Name, t.Id, t.Description, t.CreateTime.UTC().Format("1/2/2006 15:4:5"), state)
			print(t.ChildSnapshotList, depth+1)
		}
	}
	s.read(v, func() {
		if v.Snapshot != nil {
			print(v.Snapshot.RootSnapshotList, 0)
		}
	})
	return out
}

// snapshotInfo prints as much of a guest's snapshot information as anybody
// reads.
func (s *Shell) snapshotInfo(v *simulator.VirtualMachine) (out string) {
	s.read(v, func() {
		if v.Snapshot == nil || v.Snapshot.CurrentSnapshot == nil {
			out = "Get Snapshot:\n(vim.vm.SnapshotInfo) null\n"
			return
		}
		t := treeOf(v.Snapshot.RootSnapshotList, *v.Snapshot.CurrentSnapshot)
		out = fmt.Sprintf("Get Snapshot:\n(vim.vm.SnapshotInfo) {\n   currentSnapshot = 'vim.vm.Snapshot:%s-snapshot-%d', \n}\n", digits(v.Self.Value), t.Id)
	})
	return out
}

// snapshot changes snapshots, by the API's own way.
func (s *Shell) snapshot(v *simulator.VirtualMachine, word string, w []string) (string, int) {
	ctx := context.Background()
	head := map[string]string{"create": "Create Snapshot:\n", "revert": "Revert Snapshot:\n", "remove": "Remove Snapshot:\n"}[word]
	if len(w) == 0 {
		return "Insufficient arguments.\n", 255
	}
	yes := func(i int) bool { return len(w) > i && (w[i] == "1" || w[i] == "true") }
	var task types.ManagedObjectReference
	if word == "create" {
		req := types.CreateSnapshot_Task{This: v.Self, Name: w[0], Memory: yes(2), Quiesce: yes(3)}
		if len(w) > 1 {
			req.Description = w[1]
		}
		res, err := methods.CreateSnapshot_Task(ctx, s.w.inUse, &req)
		if err != nil {
			return errText(err)
		}
		task = res.Returnval
	} else {
		ref, ok := s.snapshotRef(v, w[0])
		if !ok {
			return faultText("vim.fault.NotFound", "Unable to find a snapshot corresponding to snapshot ID "+w[0]), 1
		}
		if word == "revert" {
			res, err := methods.RevertToSnapshot_Task(ctx, s.w.inUse, &types.RevertToSnapshot_Task{This: ref})
			if err != nil {
				return errText(err)
			}
			task = res.Returnval
		} else {
			res, err := methods.RemoveSnapshot_Task(ctx, s.w.inUse, &types.RemoveSnapshot_Task{This: ref, RemoveChildren: yes(1)})
			if err != nil {
				return errText(err)
			}
			task = res.Returnval
		}
	}
	if err := s.waitFor(task); err != nil {
		return head + strings.ToUpper(word[:1]) + word[1:] + " snapshot failed\n", 1
	}
	if word != "create" {
		head += s.snapshotTree(v)
	}
	return head, 0
}

func (s *Shell) snapshotRef(v *simulator.VirtualMachine, id string) (ref types.ManagedObjectReference, ok bool) {
	n, err := strconv.Atoi(id)
	if err != nil {
		return ref, false
	}
	var find func([]types.VirtualMachineSnapshotTree)
	find = func(list []types.VirtualMachineSnapshotTree) {
		for _, t := range list {
			if int(t.Id) == n {
				ref, ok = t.Snapshot, true
			}
			find(t.ChildSnapshotList)
		}
	}
	s.read(v, func() {
		if v.Snapshot != nil {
			find(v.Snapshot.RootSnapshotList)
		}
	})
	return ref, ok
}
