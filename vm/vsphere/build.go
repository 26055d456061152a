package vsphere

import (
	"context"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Create makes a guest.
func (c *Conn) Create(ctx context.Context, at vm.Where, s *vm.Spec) (v vm.VM, err error) {
	c.Make(ctx, []vm.Making{{At: at, Name: s.Name, Spec: s}}, func(_ int, made vm.VM, fail error) { v, err = made, fail })
	return v, err
}

// Make makes guests, all of them followed through one collector.
func (c *Conn) Make(ctx context.Context, list []vm.Making, done func(int, vm.VM, error)) {
	jobs := make([]*job, 0, len(list))
	networks := map[types.ManagedObjectReference]plugs{}
	gone := c.leftovers(ctx, list)
	for i, m := range list {
		if gone[i] {
			done(i, vm.VM{}, vm.Errorf(vm.ErrNotFound, "File %s was not found", m.Old))
			continue
		}
		start, err := c.making(ctx, m, networks)
		if err != nil {
			done(i, vm.VM{}, err)
			continue
		}
		jobs = append(jobs, &job{policy: vm.Policy{Deadline: longTask}, start: start, done: func(result types.AnyType, err error) {
			var v vm.VM
			if err == nil {
				v, err = made(result, m.Name)
			}
			done(i, v, err)
		}})
	}
	c.work(ctx, c.tasks(), jobs)
}

// making is the request for one of them.
func (c *Conn) making(ctx context.Context, m vm.Making, networks map[types.ManagedObjectReference]plugs) (func(context.Context) (types.ManagedObjectReference, error), error) {
	where, _, err := c.spot(ctx, m.At)
	if err != nil {
		return nil, err
	}
	if !m.Old.IsZero() {
		return c.register(where, m.Old, m.Name), nil
	}
	host, err := c.netHost(ctx, where, m.At)
	if err != nil {
		return nil, err
	}
	if networks[host] == nil {
		networks[host] = c.network(host)
	}
	w := &writer{c: c, net: networks[host]}
	if err := w.create(ctx, m.Spec); err != nil {
		return nil, err
	}
	req := types.CreateVM_Task{This: where.folder, Config: w.spec, Pool: where.pool, Host: where.host}
	return func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CreateVM_Task(ctx, c.vc, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}, nil
}

func (c *Conn) register(where *spot, vmx vm.Path, name string) func(context.Context) (types.ManagedObjectReference, error) {
	req := types.RegisterVM_Task{This: where.folder, Path: vmx.String(), Name: name, Pool: &where.pool, Host: where.host}
	return func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.RegisterVM_Task(ctx, c.vc, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}
}

// netHost is the host whose networks count: the one that the guest is made
// on, or any of the cluster that picks one.
func (c *Conn) netHost(ctx context.Context, s *spot, at vm.Where) (types.ManagedObjectReference, error) {
	if s.host != nil {
		return *s.host, nil
	}
	names, err := c.ClusterHosts(ctx, at.Cluster)
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	if len(names) == 0 {
		return types.ManagedObjectReference{}, vm.Errorf(vm.ErrNotFound, "cluster %s has no host", at.Cluster)
	}
	return c.hostRef(ctx, names[0])
}

func made(result types.AnyType, name string) (vm.VM, error) {
	ref, ok := result.(types.ManagedObjectReference)
	if !ok {
		return vm.VM{}, vm.Errorf(vm.ErrInvalid, "the host does not say what it made")
	}
	return vm.VM{ID: ref.Value, Name: name}, nil
}

// Register makes a guest known whose files are there.
func (c *Conn) Register(ctx context.Context, at vm.Where, vmx vm.Path, name string) (vm.VM, error) {
	where, _, err := c.spot(ctx, at)
	if err != nil {
		return vm.VM{}, err
	}
	result, err := c.do(ctx, &job{policy: vm.Policy{Deadline: longTask}, start: c.register(where, vmx, name)})
	if err != nil {
		return vm.VM{}, err
	}
	v, err := made(result, name)
	v.Path = vmx
	if err != nil {
		return v, err
	}
	return c.reread(ctx, v)
}

// reread looks at one guest again.
func (c *Conn) reread(ctx context.Context, v vm.VM) (vm.VM, error) {
	var m mo.VirtualMachine
	err := property.DefaultCollector(c.vc).RetrieveOne(ctx, vmRef(v), summaryProps(), &m)
	if err != nil {
		return v, wrap(err)
	}
	return toVM(&m, nil, nil), nil
}

// Reconfigure does a change in one request.
func (c *Conn) Reconfigure(ctx context.Context, v vm.VM, ch *vm.Change) error {
	w := &writer{c: c}
	if needsDevices(ch) {
		var m mo.VirtualMachine
		err := property.DefaultCollector(c.vc).RetrieveOne(ctx, vmRef(v), []string{"config.hardware.device", "runtime.host"}, &m)
		if err != nil {
			return wrap(err)
		}
		if m.Config == nil || m.Runtime.Host == nil {
			return vm.Errorf(vm.ErrInvalid, "VM is in an invalid state")
		}
		w.devices, w.net = m.Config.Hardware.Device, c.network(*m.Runtime.Host)
	}
	if err := w.change(ctx, ch); err != nil {
		return err
	}
	_, err := c.do(ctx, &job{vm: vmRef(v), policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.ReconfigVM_Task(ctx, c.vc, &types.ReconfigVM_Task{This: vmRef(v), Spec: w.spec})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}

// needsDevices says whether a change must know what the guest has now.
func needsDevices(c *vm.Change) bool {
	return c.SetBoot || c.EditCDROM != nil || c.AddCDROM != nil ||
		len(c.AddDisks)+len(c.RemoveDisks)+len(c.GrowDisks)+len(c.AddControllers) > 0 ||
		len(c.AddNICs)+len(c.EditNICs)+len(c.RemoveNICs) > 0 || c.AddSerial != nil || len(c.RemoveSerial) > 0
}

// Remove forgets a guest, or destroys it with its files and all of its disks.
func (c *Conn) Remove(ctx context.Context, v vm.VM, purge bool) error {
	if !purge {
		_, err := methods.UnregisterVM(ctx, c.vc, &types.UnregisterVM{This: vmRef(v)})
		return wrap(err)
	}
	_, err := c.do(ctx, &job{policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.Destroy_Task(ctx, c.vc, &types.Destroy_Task{This: vmRef(v)})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}
