package vm

import (
	"context"

	"margay/nodedb"
)

// hostName finds what the hypervisor calls a host of the table: "" where it
// is the host itself. A host that its vCenter does not have is taken in first,
// unless site.vcenterautojoin says no.
func (m *Manager) hostName(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, host string) (string, error) {
	if hv.About().Kind != VPX || host == "" {
		return "", nil
	}
	name, err := inInventory(ctx, snap, hv, host)
	if name != "" || err != nil {
		return name, err
	}
	if off(snap.Site("vcenterautojoin")) {
		return "", Errorf(ErrNotFound, "Failed to communicate with %s, vCenter does not have it in inventory and xCAT is set to not autojoin", host)
	}
	if err := m.join(ctx, snap, hv, host); err != nil {
		return "", Errorf(ErrUnreachable, "Failed to communicate with %s due to %v", host, err)
	}
	return inInventory(ctx, snap, hv, host)
}

// inInventory is the vCenter's name of a host, "" if it does not have it.
func inInventory(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, host string) (string, error) {
	names, err := hv.Hosts(ctx)
	if err != nil {
		return "", err
	}
	for _, want := range aliases(snap, host) {
		for _, have := range names {
			if SameHost(have, want) {
				return have, nil
			}
		}
	}
	return "", nil
}

// join takes a host into a vCenter. The vCenter is told which certificate to
// expect: the one that the host shows us, over a connection that is pinned
// itself.
func (m *Manager) join(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, host string) error {
	j, ok := as[Joiner](hv)
	if !ok {
		return ErrUnsupported
	}
	e, err := HostEndpoint(snap, host)
	if err != nil {
		return err
	}
	direct, err := m.Open(ctx, e)
	if err != nil {
		return err
	}
	req := Join{Host: e.Host, Port: e.Port, User: e.User, Password: e.Password, Fingerprint: direct.About().Fingerprint, Thumbprint: direct.About().Thumbprint}
	if n, err := snap.Node(host); err == nil {
		req.Datacenter, req.Cluster = n.HostDatacenter, n.HostCluster
	}
	return j.Join(ctx, req)
}
