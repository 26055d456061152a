package vsphere

import (
	"context"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Clusters lists the clusters with their hosts.
func (c *Conn) Clusters(ctx context.Context) ([]vm.Cluster, error) {
	if err := c.isVCenter(); err != nil {
		return nil, err
	}
	t, err := c.tree(ctx)
	if err != nil {
		return nil, err
	}
	var out []vm.Cluster
	for _, p := range t.order {
		if p.ref.Type != "ClusterComputeResource" {
			continue
		}
		cl := vm.Cluster{Name: p.name}
		if dc := t.above(p, "Datacenter"); dc != nil {
			cl.Datacenter = dc.name
		}
		for _, h := range t.order {
			if h.ref.Type == "HostSystem" && h.parent == p.ref {
				cl.Hosts = append(cl.Hosts, h.name)
			}
		}
		out = append(out, cl)
	}
	return out, nil
}

func (c *Conn) isVCenter() error {
	if c.about.Kind != vm.VPX {
		return vm.Errorf(vm.ErrUnsupported, "%s is a host; clusters are a vCenter's", c.e)
	}
	return nil
}

// AddCluster makes a cluster.
func (c *Conn) AddCluster(ctx context.Context, datacenter, name string) error {
	if err := c.isVCenter(); err != nil {
		return err
	}
	t, err := c.tree(ctx)
	if err != nil {
		return err
	}
	if t.cluster(datacenter, name) != nil {
		return vm.Errorf(vm.ErrExists, "cluster %s is there already", name)
	}
	folder, _, err := c.joinPlace(ctx, vm.Join{Host: name, Datacenter: datacenter})
	if err != nil {
		return err
	}
	_, err = methods.CreateClusterEx(ctx, c.vc, &types.CreateClusterEx{This: folder, Name: name, Spec: types.ClusterConfigSpecEx{}})
	return wrap(err)
}

// cluster finds a cluster by its name and, unless that is "", its datacenter.
func (t *tree) cluster(datacenter, name string) *place {
	for _, p := range t.order {
		if p.ref.Type != "ClusterComputeResource" || p.name != name {
			continue
		}
		if dc := t.above(p, "Datacenter"); datacenter == "" || dc != nil && dc.name == datacenter {
			return p
		}
	}
	return nil
}

// RemoveCluster removes a cluster. One that has hosts is refused: vCenter
// would remove them, and their guests from its sight, along with it.
func (c *Conn) RemoveCluster(ctx context.Context, datacenter, name string) error {
	if err := c.isVCenter(); err != nil {
		return err
	}
	t, err := c.tree(ctx)
	if err != nil {
		return err
	}
	p := t.cluster(datacenter, name)
	if p == nil {
		return vm.Errorf(vm.ErrNotFound, "%s is not a known cluster to the vCenter server.", name)
	}
	var hosts []string
	for _, h := range t.order {
		if h.ref.Type == "HostSystem" && h.parent == p.ref {
			hosts = append(hosts, h.name)
		}
	}
	if len(hosts) > 0 {
		return vm.Errorf(vm.ErrInvalid, "cluster %s has hosts: %s; take them out with rmhypervisor first", name, strings.Join(hosts, ", "))
	}
	_, err = c.do(ctx, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.Destroy_Task(ctx, c.vc, &types.Destroy_Task{This: p.ref})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}
