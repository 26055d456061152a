package vmtest

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
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
