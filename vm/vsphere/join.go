package vsphere

import (
	"context"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// defaultDatacenter is made where a vCenter has none.
const defaultDatacenter = "xcat-datacenter"

// Join takes a host in. vCenter shows the certificate that it sees; it is let
// on only if that is the one that the host showed us.
func (c *Conn) Join(ctx context.Context, j vm.Join) error {
	folder, cluster, err := c.joinPlace(ctx, j)
	if err != nil {
		return err
	}
	spec := types.HostConnectSpec{HostName: j.Host, Port: int32(j.Port), UserName: j.User, Password: j.Password, Force: true}
	return c.pinned(j, spec, func(spec types.HostConnectSpec) error { return c.addHost(ctx, folder, cluster, spec) })
}

// pinned makes a request that shows the certificate which vCenter sees, and
// makes it again with that one if it is the one that the host showed us.
func (c *Conn) pinned(j vm.Join, spec types.HostConnectSpec, request func(types.HostConnectSpec) error) error {
	err := request(spec)
	seen := thumbprint(err)
	if seen == "" {
		return unthumb(err)
	}
	if !strings.EqualFold(seen, j.Thumbprint) && !strings.EqualFold(seen, j.Fingerprint) {
		return vm.Errorf(vm.ErrUntrusted, "vCenter sees certificate %s on %s, we see %s; someone may be in between", seen, j.Host, j.Thumbprint)
	}
	spec.SslThumbprint = seen
	return unthumb(request(spec))
}

// A sslFault carries the certificate that vCenter sees.
type sslFault struct {
	error
	thumbprint string
}

func thumbprint(err error) string {
	if f, ok := err.(*sslFault); ok {
		return f.thumbprint
	}
	return ""
}

func unthumb(err error) error {
	if f, ok := err.(*sslFault); ok {
		return f.error
	}
	return err
}

// joinPlace is where a host goes: its cluster, else its datacenter, else the
// first one.
func (c *Conn) joinPlace(ctx context.Context, j vm.Join) (folder, cluster types.ManagedObjectReference, err error) {
	t, err := c.tree(ctx)
	if err != nil {
		return folder, cluster, err
	}
	if j.Cluster != "" {
		p := t.find("ClusterComputeResource", j.Cluster)
		if p == nil {
			return folder, cluster, vm.Errorf(vm.ErrNotFound, "%s is not a known cluster to the vCenter server.", j.Cluster)
		}
		return folder, p.ref, nil
	}
	dc := t.find("Datacenter", j.Datacenter)
	if dc == nil && j.Datacenter != "" {
		return folder, cluster, vm.Errorf(vm.ErrNotFound, "Unable to find requested datacenter (hypervisor.datacenter for %s is %s)", j.Host, j.Datacenter)
	}
	if dc != nil {
		return dc.hosts, cluster, nil
	}
	if _, err := methods.CreateDatacenter(ctx, c.vc, &types.CreateDatacenter{This: t.root, Name: defaultDatacenter}); err != nil {
		return folder, cluster, wrap(err)
	}
	if t, err = c.tree(ctx); err != nil {
		return folder, cluster, err
	}
	if dc = t.find("Datacenter", defaultDatacenter); dc == nil {
		return folder, cluster, vm.Errorf(vm.ErrNotFound, "datacenter %s was made and is not there", defaultDatacenter)
	}
	return dc.hosts, cluster, nil
}

func (c *Conn) addHost(ctx context.Context, folder, cluster types.ManagedObjectReference, spec types.HostConnectSpec) error {
	var seen string
	_, err := c.do(ctx, &job{keep: func(f types.BaseMethodFault) { seen = sslThumbprint(f) }, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		if cluster.Value != "" {
			res, err := methods.AddHost_Task(ctx, c.vc, &types.AddHost_Task{This: cluster, Spec: spec, AsConnected: true})
			if err != nil {
				return types.ManagedObjectReference{}, err
			}
			return res.Returnval, nil
		}
		res, err := methods.AddStandaloneHost_Task(ctx, c.vc, &types.AddStandaloneHost_Task{This: folder, Spec: spec, AddConnected: true})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	if err != nil && seen != "" {
		return &sslFault{err, seen}
	}
	return err
}

func sslThumbprint(f types.BaseMethodFault) string {
	if s, ok := f.(*types.SSLVerifyFault); ok {
		return s.Thumbprint
	}
	return ""
}

// Reconnect connects a host again that the vCenter has lost. The vCenter is
// given the account anew, and which certificate it must see: either may have
// changed since the host joined.
func (c *Conn) Reconnect(ctx context.Context, host string, j vm.Join) error {
	ref, err := c.hostRef(ctx, host)
	if err != nil {
		return err
	}
	spec := types.HostConnectSpec{HostName: j.Host, Port: int32(j.Port), UserName: j.User, Password: j.Password, Force: true}
	return c.pinned(j, spec, func(spec types.HostConnectSpec) error {
		var seen string
		_, err := c.do(ctx, &job{keep: func(f types.BaseMethodFault) { seen = sslThumbprint(f) }, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
			res, err := methods.ReconnectHost_Task(ctx, c.vc, &types.ReconnectHost_Task{This: ref, CnxSpec: &spec, ReconnectSpec: &types.HostSystemReconnectSpec{SyncState: types.NewBool(true)}})
			if err != nil {
				return types.ManagedObjectReference{}, err
			}
			return res.Returnval, nil
		}})
		if err != nil && seen != "" {
			return &sslFault{err, seen}
		}
		return err
	})
}

// Leave disconnects a host and takes it out, with the compute resource that a
// host outside clusters has of its own.
func (c *Conn) Leave(ctx context.Context, host string) error {
	t, err := c.tree(ctx)
	if err != nil {
		return err
	}
	p := t.find("HostSystem", host)
	if p == nil {
		return vm.Errorf(vm.ErrNotFound, "host %s is not in the inventory", host)
	}
	_, err = c.do(ctx, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.DisconnectHost_Task(ctx, c.vc, &types.DisconnectHost_Task{This: p.ref})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	if err != nil {
		return err
	}
	gone := p.ref
	if cr := t.nodes[p.parent]; cr != nil && cr.ref.Type == "ComputeResource" {
		gone = cr.ref
	}
	_, err = c.do(ctx, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.Destroy_Task(ctx, c.vc, &types.Destroy_Task{This: gone})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}
