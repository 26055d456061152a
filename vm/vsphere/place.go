package vsphere

import (
	"context"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// A tree is an endpoint's inventory of places: datacenters, folders, clusters,
// hosts and pools, but no guests.
type tree struct {
	root  types.ManagedObjectReference
	nodes map[types.ManagedObjectReference]*place
	order []*place
}

// A place is one of them.
type place struct {
	ref      types.ManagedObjectReference
	name     string
	parent   types.ManagedObjectReference
	pool     types.ManagedObjectReference // of a host or cluster: its root pool
	vmFolder types.ManagedObjectReference // of a datacenter
	hosts    types.ManagedObjectReference // of a datacenter: its host folder
	browser  types.ManagedObjectReference // of a host's or a cluster's: says what guests can have there
}

// A spot is where a guest is made.
type spot struct {
	folder, pool, dc types.ManagedObjectReference
	host             *types.ManagedObjectReference // nil: the cluster picks one
}

func (c *Conn) tree(ctx context.Context) (*tree, error) {
	kinds := []string{"Datacenter", "Folder", "ComputeResource", "ResourcePool", "HostSystem"}
	named := []string{"name", "parent"}
	objects, err := c.retrieve(ctx, kinds, []types.PropertySpec{
		{Type: "Datacenter", PathSet: append(named, "vmFolder", "hostFolder")},
		{Type: "Folder", PathSet: named},
		{Type: "ComputeResource", PathSet: append(named, "resourcePool", "environmentBrowser")},
		{Type: "ResourcePool", PathSet: named},
		{Type: "HostSystem", PathSet: named},
	})
	if err != nil {
		return nil, err
	}
	t := &tree{root: c.vc.ServiceContent.RootFolder, nodes: map[types.ManagedObjectReference]*place{}}
	for _, o := range objects {
		p := &place{ref: o.Obj, name: stringProp(o, "name")}
		for _, prop := range o.PropSet {
			ref, ok := prop.Val.(types.ManagedObjectReference)
			if !ok {
				continue
			}
			switch prop.Name {
			case "parent":
				p.parent = ref
			case "resourcePool":
				p.pool = ref
			case "environmentBrowser":
				p.browser = ref
			case "vmFolder":
				p.vmFolder = ref
			case "hostFolder":
				p.hosts = ref
			}
		}
		t.nodes[p.ref] = p
		t.order = append(t.order, p)
	}
	return t, nil
}

// find is the first place of a kind with a name; an empty name fits any.
func (t *tree) find(kind, name string) *place {
	for _, p := range t.order {
		if isA(p.ref.Type, kind) && (name == "" || p.name == name) {
			return p
		}
	}
	return nil
}

func isA(have, want string) bool {
	return have == want || want == "ComputeResource" && have == "ClusterComputeResource"
}

// above climbs to the nearest place of a kind.
func (t *tree) above(p *place, kind string) *place {
	for p != nil {
		if isA(p.ref.Type, kind) {
			return p
		}
		p = t.nodes[p.parent]
	}
	return nil
}

// children are the places directly in another, looking through the folders
// that every datacenter has and nobody names.
func (t *tree) children(p types.ManagedObjectReference) []*place {
	var out []*place
	for _, q := range t.order {
		if q.parent != p {
			continue
		}
		d := t.nodes[q.parent]
		switch {
		case d != nil && d.ref.Type == "Datacenter":
			out = append(out, t.children(q.ref)...)
		case d != nil && d.pool == q.ref:
			out = append(out, t.children(q.ref)...) // a cluster's own "Resources" pool
			out = append(out, q)
		default:
			out = append(out, q)
		}
	}
	return out
}

// walk follows an inventory path from the root.
func (t *tree) walk(path []string) ([]*place, error) {
	at := t.root
	var out []*place
	for i, name := range path {
		found := slices.IndexFunc(t.children(at), func(p *place) bool { return p.name == name })
		if found < 0 {
			return nil, vm.Errorf(vm.ErrNotFound, "inventory has no %q in %v", name, path[:i])
		}
		p := t.children(at)[found]
		out = append(out, p)
		at = p.ref
	}
	return out, nil
}

// treeAge is how old the tree may be by which guests are placed: when many
// are made, not each walks the inventory anew.
const treeAge = 10 * time.Second

// spot finds where a guest is to be made.
func (c *Conn) spot(ctx context.Context, at vm.Where) (*spot, *tree, error) {
	t, fresh, err := c.recent(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s, t, err := c.spotIn(t, at); err == nil || fresh {
		return s, t, err
	}
	if t, err = c.newTree(ctx); err != nil {
		return nil, nil, err
	}
	return c.spotIn(t, at)
}

// recent is a tree that is young enough for guests to be placed by, or, fresh,
// one that was read for it.
func (c *Conn) recent(ctx context.Context) (t *tree, fresh bool, err error) {
	c.treeMu.Lock()
	t, at := c.lastTree, c.treeAt
	c.treeMu.Unlock()
	if t != nil && time.Since(at) < treeAge {
		return t, false, nil
	}
	t, err = c.newTree(ctx)
	return t, true, err
}

func (c *Conn) newTree(ctx context.Context) (*tree, error) {
	t, err := c.tree(ctx)
	if err != nil {
		return nil, err
	}
	c.treeMu.Lock()
	c.lastTree, c.treeAt = t, time.Now()
	c.treeMu.Unlock()
	return t, nil
}

func (c *Conn) spotIn(t *tree, at vm.Where) (*spot, *tree, error) {
	s := &spot{}
	if err := s.compute(c, t, at); err != nil {
		return nil, nil, err
	}
	pool := t.nodes[s.pool]
	dc := t.above(pool, "Datacenter")
	if dc == nil {
		return nil, nil, vm.Errorf(vm.ErrNotFound, "no datacenter is above the pool of %s", at.Host)
	}
	if at.Datacenter != "" && c.about.Kind == vm.VPX && dc.name != at.Datacenter {
		return nil, nil, vm.Errorf(vm.ErrInvalid, "vmdatacenter is %s, but %s is in %s", at.Datacenter, at.Host, dc.name)
	}
	s.folder, s.dc = dc.vmFolder, dc.ref
	if len(at.Path) > 0 && c.about.Kind == vm.VPX {
		return s, t, s.path(t, at.Path)
	}
	return s, t, nil
}

func (s *spot) compute(c *Conn, t *tree, at vm.Where) error {
	var p *place
	switch {
	case c.about.Kind == vm.ESX:
		p = t.find("HostSystem", "")
	case at.Cluster != "":
		p = t.find("ComputeResource", at.Cluster)
	default:
		p = t.find("HostSystem", at.Host)
	}
	if p == nil {
		if at.Cluster != "" {
			return vm.Errorf(vm.ErrNotFound, "%s is not a known cluster to the vCenter server.", at.Cluster)
		}
		return vm.Errorf(vm.ErrNotFound, "host %s is not in the inventory", at.Host)
	}
	if p.ref.Type == "HostSystem" {
		s.host = &p.ref
	}
	cr := t.above(p, "ComputeResource")
	if cr == nil {
		return vm.Errorf(vm.ErrNotFound, "host %s has no resource pool", at.Host)
	}
	s.pool = cr.pool
	return nil
}

// path takes folder and pool from an inventory path.
func (s *spot) path(t *tree, path []string) error {
	places, err := t.walk(path)
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.ref.Type == "ResourcePool" {
			s.pool = p.ref
		}
	}
	return nil
}

// Hosts are the names of all hosts.
func (c *Conn) Hosts(ctx context.Context) ([]string, error) {
	objects, err := c.retrieve(ctx, []string{"HostSystem"}, []types.PropertySpec{{Type: "HostSystem", PathSet: []string{"name"}}})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, o := range objects {
		out = append(out, stringProp(o, "name"))
	}
	return out, nil
}

// ClusterHosts are the names of a cluster's hosts.
func (c *Conn) ClusterHosts(ctx context.Context, cluster string) ([]string, error) {
	t, err := c.tree(ctx)
	if err != nil {
		return nil, err
	}
	cr := t.find("ClusterComputeResource", cluster)
	if cr == nil {
		return nil, vm.Errorf(vm.ErrNotFound, "%s is not a known cluster to the vCenter server.", cluster)
	}
	var out []string
	for _, p := range t.order {
		if p.ref.Type == "HostSystem" && p.parent == cr.ref {
			out = append(out, p.name)
		}
	}
	return out, nil
}

// hostRef finds a host by the name that the endpoint gives it. A host that
// stands alone stays what it is.
func (c *Conn) hostRef(ctx context.Context, name string) (types.ManagedObjectReference, error) {
	if c.about.Kind == vm.ESX {
		if t, _, err := c.recent(ctx); err == nil {
			if p := t.find("HostSystem", ""); p != nil {
				return p.ref, nil
			}
		}
	}
	objects, err := c.retrieve(ctx, []string{"HostSystem"}, []types.PropertySpec{{Type: "HostSystem", PathSet: []string{"name"}}})
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	for _, o := range objects {
		if c.about.Kind == vm.ESX || stringProp(o, "name") == name {
			return o.Obj, nil
		}
	}
	return types.ManagedObjectReference{}, vm.Errorf(vm.ErrNotFound, "host %s is not in the inventory", name)
}

// datacenterOf is the datacenter that a host is in.
func (c *Conn) datacenterOf(ctx context.Context, host string) (types.ManagedObjectReference, error) {
	t, err := c.tree(ctx)
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	p := t.find("HostSystem", host)
	if c.about.Kind == vm.ESX {
		p = t.find("HostSystem", "")
	}
	if dc := t.above(p, "Datacenter"); dc != nil {
		return dc.ref, nil
	}
	return types.ManagedObjectReference{}, vm.Errorf(vm.ErrNotFound, "host %s is in no datacenter", host)
}
