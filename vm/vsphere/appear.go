package vsphere

import (
	"context"
	"slices"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// appearance is how long a host may take to list what it has just made.
const appearance = 30 * time.Second

// networkAppears waits until a host lists a network, through the collector,
// not by asking again and again.
func (c *Conn) networkAppears(ctx context.Context, host, name string) error {
	ref, err := c.hostRef(ctx, host)
	if err != nil {
		return err
	}
	known, err := c.networksOf(ctx, ref)
	if err != nil || known[name].Value != "" {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, appearance)
	defer cancel()
	err = property.Wait(wait, property.DefaultCollector(c.vc), ref, []string{"network"}, func(changes []types.PropertyChange) bool {
		return slices.ContainsFunc(changes, func(ch types.PropertyChange) bool {
			list, ok := ch.Val.(types.ArrayOfManagedObjectReference)
			return ok && c.anyCalled(wait, list.ManagedObjectReference, name)
		})
	})
	if wait.Err() != nil && ctx.Err() == nil {
		return vm.Errorf(vm.ErrNotFound, "port group %q was made, but %s does not list it after %s", name, host, appearance)
	}
	return wrap(err)
}

func (c *Conn) anyCalled(ctx context.Context, refs []types.ManagedObjectReference, name string) bool {
	var nets []mo.Network
	if err := property.DefaultCollector(c.vc).Retrieve(ctx, refs, []string{"name"}, &nets); err != nil {
		return false
	}
	return slices.ContainsFunc(nets, func(n mo.Network) bool { return n.Name == name })
}
