package vsphere

import (
	"context"
	"errors"
	"slices"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// watchWait is how long one request waits for news, in seconds.
const watchWait = 60

// Watch tells of guests as they change, through a collector of its own.
func (c *Conn) Watch(ctx context.Context, seen func(changed []vm.VM, gone []string)) error {
	kinds := []string{"VirtualMachine"}
	sets := []types.PropertySpec{{Type: "VirtualMachine", PathSet: []string{
		"name", "runtime.powerState", "runtime.host", "runtime.question", "summary.config.uuid", "guest.toolsRunningStatus", "guest.ipAddress"}}}
	if c.about.Kind == vm.VPX {
		kinds = append(kinds, "HostSystem")
		sets = append(sets, types.PropertySpec{Type: "HostSystem", PathSet: []string{"name"}})
	}
	view, err := c.view(ctx, kinds)
	if err != nil {
		return wrap(err)
	}
	pc, err := property.DefaultCollector(c.vc).Create(ctx)
	if err != nil {
		return wrap(err)
	}
	defer func() { _ = pc.Destroy(context.WithoutCancel(ctx)) }()
	_, err = pc.CreateFilter(ctx, types.CreateFilter{Spec: types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: view, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{Type: "ContainerView", Path: "view"},
		}}},
		PropSet: sets,
	}})
	if err != nil {
		c.dropView(kinds, view)
		return c.watchEnds(err, view, pc.Reference())
	}
	w := &guestWatch{guests: map[types.ManagedObjectReference]*vm.VM{}, hosts: map[types.ManagedObjectReference]string{}, on: map[types.ManagedObjectReference]types.ManagedObjectReference{}}
	req := types.WaitForUpdatesEx{This: pc.Reference(), Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(watchWait)}}
	for {
		res, err := methods.WaitForUpdatesEx(ctx, c.vc, &req)
		if err != nil {
			err = c.watchEnds(err, view, pc.Reference())
			if errors.Is(err, vm.ErrSession) {
				c.dropView(kinds, view)
			}
			return err
		}
		if res.Returnval == nil {
			continue
		}
		req.Version = res.Returnval.Version
		for _, f := range res.Returnval.FilterSet {
			for _, o := range f.ObjectSet {
				w.update(o)
			}
		}
		if t := res.Returnval.Truncated; t == nil || !*t {
			w.flush(seen)
		}
	}
}

// watchEnds is the error that a watch ends with. The view and the collector are
// the session's, and nobody but the endpoint takes them away: where either is
// not known any longer, the session has ended, and there is another by now.
func (c *Conn) watchEnds(err error, own ...types.ManagedObjectReference) error {
	if !soap.IsSoapFault(err) {
		return wrap(err)
	}
	if gone, ok := soap.ToSoapFault(err).VimFault().(types.ManagedObjectNotFound); ok && slices.Contains(own, gone.Obj) {
		return vm.Errorf(vm.ErrSession, "%s: the session that watched it has ended", c.e)
	}
	return wrap(err)
}

// A guestWatch puts guests together from the properties that change.
type guestWatch struct {
	guests map[types.ManagedObjectReference]*vm.VM
	on     map[types.ManagedObjectReference]types.ManagedObjectReference // guest to host
	hosts  map[types.ManagedObjectReference]string
	dirty  []types.ManagedObjectReference
	gone   []string
}

func (w *guestWatch) flush(seen func([]vm.VM, []string)) {
	changed := make([]vm.VM, 0, len(w.dirty))
	done := map[types.ManagedObjectReference]bool{}
	for _, ref := range w.dirty {
		v := w.guests[ref]
		if v == nil || done[ref] {
			continue
		}
		done[ref] = true
		v.Host = w.hosts[w.on[ref]]
		changed = append(changed, *v)
	}
	gone := w.gone
	w.dirty, w.gone = nil, nil
	seen(changed, gone)
}

func (w *guestWatch) update(o types.ObjectUpdate) {
	if o.Obj.Type == "HostSystem" {
		for _, ch := range o.ChangeSet {
			if s, ok := ch.Val.(string); ok && ch.Name == "name" {
				w.hosts[o.Obj] = s
			}
		}
		return
	}
	if o.Kind == types.ObjectUpdateKindLeave {
		delete(w.guests, o.Obj)
		w.gone = append(w.gone, o.Obj.Value)
		return
	}
	v := w.guests[o.Obj]
	if v == nil {
		v = &vm.VM{ID: o.Obj.Value}
		w.guests[o.Obj] = v
	}
	w.dirty = append(w.dirty, o.Obj)
	for _, ch := range o.ChangeSet {
		w.change(o.Obj, v, ch)
	}
}

func (w *guestWatch) change(ref types.ManagedObjectReference, v *vm.VM, ch types.PropertyChange) {
	text, _ := ch.Val.(string)
	switch ch.Name {
	case "name":
		v.Name = text
	case "runtime.powerState":
		if s, ok := ch.Val.(types.VirtualMachinePowerState); ok {
			v.State = state(s)
		}
	case "runtime.host":
		if h, ok := ch.Val.(types.ManagedObjectReference); ok {
			w.on[ref] = h
		}
	case "runtime.question":
		v.Question = nil
		switch q := ch.Val.(type) {
		case types.VirtualMachineQuestionInfo:
			v.Question = question(&q)
		case *types.VirtualMachineQuestionInfo:
			if q != nil {
				v.Question = question(q)
			}
		}
	case "summary.config.uuid":
		v.UUID = text
	case "guest.toolsRunningStatus":
		v.Tools = text == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	case "guest.ipAddress":
		v.Address = text
	}
}
