package vmtest

import (
	"context"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// vcsim shows a guest to all when it has a name, and fills in the rest with no
// more than the folder locked: who reads the guest's properties then, as a
// collector does that waits for news, reads what is being written. A guest that
// is being made is therefore locked from the moment that it can be seen until
// its task is over.

// makes says that a request, which has the folder locked, makes a guest in it.
func (w *World) makes(ctx *simulator.Context, folder types.ManagedObjectReference) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.makers == nil {
		w.makers, w.halves = map[types.ManagedObjectReference]*simulator.Context{}, map[*simulator.Context]func(){}
	}
	w.makers[folder] = ctx
}

// lockHalf locks a guest that has just come about, if a request of ours makes it.
func (w *World) lockHalf(o mo.Reference) {
	v, ok := o.(*simulator.VirtualMachine)
	if !ok || v.Parent == nil {
		return
	}
	w.mu.Lock()
	ctx := w.makers[*v.Parent]
	delete(w.makers, *v.Parent)
	w.mu.Unlock()
	if ctx == nil {
		return
	}
	unlock := ctx.Map.AcquireLock(ctx, v) // the request has it by now: it is counted twice
	w.mu.Lock()
	w.halves[ctx] = unlock
	w.mu.Unlock()
}

// unlockHalf unlocks the guest of a request whose task is over.
func (w *World) unlockHalf(ctx *simulator.Context, changes []types.PropertyChange) {
	for _, ch := range changes {
		if ch.Name != "info.state" || ch.Val != types.TaskInfoStateSuccess && ch.Val != types.TaskInfoStateError {
			continue
		}
		w.mu.Lock()
		unlock := w.halves[ctx]
		delete(w.halves, ctx)
		for folder, by := range w.makers {
			if by == ctx {
				delete(w.makers, folder) // it made none
			}
		}
		w.mu.Unlock()
		if unlock != nil {
			unlock()
		}
	}
}

// DestroyTask destroys a guest, one at a time: vcsim deletes the files in a task
// that it does not wait for, and that reads the datastore while the next guest
// is being taken out of it.
func (x *vmObject) DestroyTask(ctx *simulator.Context, req *types.Destroy_Task) soap.HasFault {
	run := func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		x.w.leaving.Lock()
		defer x.w.leaving.Unlock()
		r := x.VirtualMachine.DestroyTask(ctx, req).(*methods.Destroy_TaskBody)
		res, f := inner(ctx, r.Res.Returnval)
		other := &simulator.Context{Context: context.Background(), Map: ctx.Map} // which the lock of those files is not shared with
		ctx.Map.WithLock(other, ctx.Map.FileManager(), func() {})
		return res, f
	}
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: simulator.CreateTask(x.VirtualMachine, "destroy", run).Run(ctx)}}
}
