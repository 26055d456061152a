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
		return "", errNoJoin(host)
	}
	if err := m.join(ctx, snap, hv, host); err != nil {
		return "", Errorf(ErrUnreachable, "Failed to communicate with %s due to %v", host, err)
	}
	if name, err = inInventory(ctx, snap, hv, host); name != "" {
		if e := m.chooseVMotion(ctx, snap, hv, host, name); e != nil && m.Log != nil {
			m.Log.Warn("no card was chosen that guests move over", "host", host, "err", e) // it has joined all the same
		}
	}
	return name, err
}

func errNoJoin(host string) error {
	return Errorf(ErrNotFound, "Failed to communicate with %s, vCenter does not have it in inventory and xCAT is set to not autojoin", host)
}

// lostHost is the error of a host that its vCenter has and is not connected to.
func lostHost(snap *nodedb.Snapshot, host string) error {
	if off(snap.Site("vcenterautojoin")) {
		return Errorf(ErrUnreachable, "Failed to communicate with %s, vCenter reports it as in inventory but not connected and xCAT is set to not autojoin", host)
	}
	return Errorf(ErrUnreachable, "vCenter has lost its connection to %s; chhypervisor %s --reconnect", host, host)
}

// hostNames are hostName's for many hosts, by their nodes' names.
func (m *Manager) hostNames(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, hosts []*nodedb.Node, names map[string]string, fails map[string]error) {
	if hv.About().Kind != VPX {
		return
	}
	have, err := hv.Hosts(ctx)
	for _, h := range hosts {
		if fails[h.Name] = err; err != nil {
			continue
		}
		if names[h.Name] = matchHost(snap, have, h.Name); names[h.Name] == "" { // it may join
			names[h.Name], fails[h.Name] = m.hostName(ctx, snap, hv, h.Name)
		}
	}
}

// inInventory is the vCenter's name of a host, "" if it does not have it.
func inInventory(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, host string) (string, error) {
	names, err := hv.Hosts(ctx)
	if err != nil {
		return "", err
	}
	return matchHost(snap, names, host), nil
}

// matchHost is which of a vCenter's names is that of a host, "" if none is.
func matchHost(snap *nodedb.Snapshot, names []string, host string) string {
	for _, want := range aliases(snap, host) {
		for _, have := range names {
			if SameHost(have, want) {
				return have
			}
		}
	}
	return ""
}

// join takes a host into a vCenter. The vCenter is told which certificate to
// expect: the one that the host shows us, over a connection that is pinned
// itself.
func (m *Manager) join(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, host string) error {
	j, ok := as[Joiner](hv)
	if !ok {
		return ErrUnsupported
	}
	req, err := m.joinOf(ctx, snap, host)
	if err != nil {
		return err
	}
	return j.Join(ctx, req)
}

// joinOf is what a vCenter is told of a host.
func (m *Manager) joinOf(ctx context.Context, snap *nodedb.Snapshot, host string) (Join, error) {
	e, err := HostEndpoint(snap, host)
	if err != nil {
		return Join{}, err
	}
	direct, err := m.Open(ctx, e)
	if err != nil {
		return Join{}, err
	}
	req := Join{Host: e.Host, Port: e.Port, User: e.User, Password: e.Password, Fingerprint: direct.About().Fingerprint, Thumbprint: direct.About().Thumbprint}
	if n, err := snap.Node(host); err == nil {
		req.Datacenter, req.Cluster = n.HostDatacenter, n.HostCluster
	}
	return req, nil
}

// Reconnect is chhypervisor --reconnect: vCenters take hosts up again that
// they have lost, with the account and the certificate that the hosts have by
// now.
func (m *Manager) Reconnect(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, dry bool, emit Emit) {
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		for _, h := range hosts {
			text, err := m.reconnect(ctx, snap, hv, h, dry)
			emit(Result{Node: h.Name, Text: textUnless(err, text), Err: err})
		}
	})
}

const connectedAlready = "connected already"

func (m *Manager) reconnect(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, n *nodedb.Node, dry bool) (string, error) {
	j, ok := as[Joiner](hv)
	if !ok || hv.About().Kind != VPX {
		return "", Errorf(ErrInvalid, "no vCenter manages it; set hostmanager")
	}
	name, err := inInventory(ctx, snap, hv, n.Name)
	if err != nil {
		return "", err
	}
	if name == "" {
		return "", Errorf(ErrNotFound, "vCenter does not have it in inventory; mkhypervisor %s", n.Name)
	}
	h, err := hv.Host(ctx, name)
	if err != nil {
		return "", err
	}
	if h.Connected {
		return connectedAlready, nil
	}
	if dry {
		return "would be connected again", nil
	}
	req, err := m.joinOf(ctx, snap, n.Name)
	if err != nil {
		return "", err
	}
	return "connected again", j.Reconnect(ctx, name, req)
}
