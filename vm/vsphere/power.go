package vsphere

import (
	"context"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Power carries out orders, as many at a time as the endpoint takes.
func (c *Conn) Power(ctx context.Context, orders []vm.Order, done func(int, error)) {
	jobs := make([]*job, 0, len(orders))
	for i, o := range orders {
		ref := vmRef(o.VM)
		if o.Op == vm.OpShutdown {
			_, err := methods.ShutdownGuest(ctx, c.vc, &types.ShutdownGuest{This: ref})
			done(i, wrap(err))
			continue
		}
		jobs = append(jobs, &job{
			vm: ref, policy: o.Answer,
			start: func(ctx context.Context) (types.ManagedObjectReference, error) { return c.power(ctx, ref, o.Op) },
			done:  func(_ types.AnyType, err error) { done(i, err) },
		})
	}
	c.work(ctx, c.tasks(), jobs)
}

func vmRef(v vm.VM) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachine", Value: v.ID}
}

func (c *Conn) power(ctx context.Context, ref types.ManagedObjectReference, op vm.PowerOp) (task types.ManagedObjectReference, err error) {
	switch op {
	case vm.OpOn:
		res, err := methods.PowerOnVM_Task(ctx, c.vc, &types.PowerOnVM_Task{This: ref})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	case vm.OpOff:
		res, err := methods.PowerOffVM_Task(ctx, c.vc, &types.PowerOffVM_Task{This: ref})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	case vm.OpReset:
		res, err := methods.ResetVM_Task(ctx, c.vc, &types.ResetVM_Task{This: ref})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	case vm.OpSuspend:
		res, err := methods.SuspendVM_Task(ctx, c.vc, &types.SuspendVM_Task{This: ref})
		if err != nil {
			return task, err
		}
		return res.Returnval, nil
	}
	return task, vm.Errorf(vm.ErrInvalid, "power operation %q is unknown", op)
}
