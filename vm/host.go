package vm

import (
	"context"
	"fmt"
	"strings"

	"margay/nodedb"
)

// A HostOp is something that is done to one host.
type HostOp struct {
	// do does it. It returns what is printed; "" prints nothing.
	do func(ctx context.Context, hv Hypervisor, name string) (string, error)
	// foresee says what do would do; nil: do changes nothing.
	foresee func(ctx context.Context, hv Hypervisor, h *Host) ([]string, error)
}

// Hosts does an operation on each host, over its vCenter if it has one; with
// dry it only says what it would do.
func (m *Manager) Hosts(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, op HostOp, dry bool, emit Emit) {
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		for _, n := range hosts {
			if dry && op.foresee != nil {
				lines, err := m.foresee(ctx, snap, hv, n, op)
				say(emit, n, lines, err)
				continue
			}
			name, err := m.hostName(ctx, snap, hv, n.Name)
			text := ""
			if err == nil {
				text, err = op.do(ctx, hv, name)
			}
			emit(Result{Node: n.Name, Text: textUnless(err, text), Err: err})
		}
	})
}

// foresee is a dry run of an operation on one host. A host that its vCenter
// does not have is not taken in for it.
func (m *Manager) foresee(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, n *nodedb.Node, op HostOp) ([]string, error) {
	h, err := lookAtHost(ctx, snap, hv, n)
	if err != nil {
		return nil, err
	}
	return op.foresee(ctx, hv, h)
}

// lookAtHost reads a host and changes nothing.
func lookAtHost(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, n *nodedb.Node) (*Host, error) {
	name := ""
	if hv.About().Kind == VPX {
		var err error
		if name, err = inInventory(ctx, snap, hv, n.Name); err != nil || name == "" {
			return nil, when(err == nil, "vCenter does not have it in inventory")
		}
	}
	h, err := hv.Host(ctx, name)
	if err == nil && !h.Connected {
		err = lostHost(snap, n.Name)
	}
	return h, err
}

// say reports lines of one node, and what went wrong after them.
func say(emit Emit, n *nodedb.Node, lines []string, err error) {
	for _, line := range lines {
		emit(Result{Node: n.Name, Text: line})
	}
	emit(Result{Node: n.Name, Err: err})
}

// admin is an operation that only needs a host's administrator.
func admin(text string, do func(context.Context, HostAdmin, string) error, foresee func(context.Context, Hypervisor, *Host) ([]string, error)) HostOp {
	return HostOp{foresee: foresee, do: func(ctx context.Context, hv Hypervisor, name string) (string, error) {
		a, ok := as[HostAdmin](hv)
		if !ok {
			return "", ErrUnsupported
		}
		return text, do(ctx, a, name)
	}}
}

// EnterMaintenance is chhypervisor -m.
func EnterMaintenance() HostOp {
	return admin("hypervisor in maintenance mode", func(ctx context.Context, a HostAdmin, h string) error {
		return a.Maintenance(ctx, h, true)
	}, entering)
}

// entering says what entering maintenance mode would do, and which guests it
// would wait for.
func entering(ctx context.Context, hv Hypervisor, h *Host) ([]string, error) {
	if h.Maintenance {
		return []string{"hypervisor in maintenance mode"}, nil
	}
	vms, err := hv.VMs(ctx, Query{Brief: true})
	if err != nil {
		return nil, err
	}
	var on []string
	for _, v := range vms {
		if v.State == nodedb.PowerOn && (hv.About().Kind != VPX || SameHost(v.Host, h.Name)) {
			on = append(on, v.Name)
		}
	}
	if len(on) > 0 {
		return []string{"would enter maintenance mode, once these are off or elsewhere: " + strings.Join(on, " ")}, nil
	}
	return []string{"would enter maintenance mode"}, nil
}

// ExitMaintenance is chhypervisor -o.
func ExitMaintenance() HostOp {
	return admin("hypervisor online", func(ctx context.Context, a HostAdmin, h string) error {
		return a.Maintenance(ctx, h, false)
	}, func(_ context.Context, _ Hypervisor, h *Host) ([]string, error) {
		if !h.Maintenance {
			return []string{"hypervisor online"}, nil
		}
		return []string{"would leave maintenance mode"}, nil
	})
}

// ShowMaintenance is chhypervisor -s.
func ShowMaintenance() HostOp {
	return HostOp{do: func(ctx context.Context, hv Hypervisor, name string) (string, error) {
		h, err := hv.Host(ctx, name)
		if err != nil {
			return "", err
		}
		if h.Maintenance {
			return "hypervisor in maintenance mode", nil
		}
		return "hypervisor online", nil
	}}
}

// ShutdownHost is rshutdown: maintenance first, as ESXi wants it.
func ShutdownHost() HostOp {
	return admin("shutdown initiated", func(ctx context.Context, a HostAdmin, h string) error {
		if err := a.Maintenance(ctx, h, true); err != nil {
			return err
		}
		return a.Shutdown(ctx, h)
	}, func(ctx context.Context, hv Hypervisor, h *Host) ([]string, error) {
		lines, err := entering(ctx, hv, h)
		return append(lines, "would be turned off"), err
	})
}

// Rescan is rescansan.
func Rescan() HostOp {
	return admin("", func(ctx context.Context, a HostAdmin, h string) error { return a.Rescan(ctx, h) },
		func(_ context.Context, _ Hypervisor, h *Host) ([]string, error) {
			line := "would look for new disks and for file systems on them"
			if have := (&Files{host: h}).names(); len(have) > 0 {
				line += "; it has " + strings.Join(have, ", ")
			}
			return []string{line}, nil
		})
}

// FormatDisk is formatdisk: the one command that puts a file system on a disk.
// id is the disk's identifier, with or without "naa.".
func FormatDisk(id, name string) HostOp {
	if !strings.Contains(id, ".") {
		id = "naa." + id
	}
	return admin("", func(ctx context.Context, a HostAdmin, h string) error { return a.FormatDisk(ctx, h, id, name) },
		func(ctx context.Context, hv Hypervisor, h *Host) ([]string, error) {
			a, ok := as[HostAdmin](hv)
			if !ok {
				return nil, ErrUnsupported
			}
			kb, err := a.FreeDisk(ctx, h.Name, id)
			if err == nil && h.Datastore(name) != nil {
				err = Errorf(ErrExists, "it has a datastore %s already", name)
			}
			if err != nil {
				return nil, err
			}
			return []string{fmt.Sprintf("would make datastore %s of disk %s, %s MB", name, id, megabytes(kb))}, nil
		})
}

// VLAN is chhypervisor --addvlan and --removevlan. A port group is made as
// vm.nics would have it made.
func (m *Manager) VLAN(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, spec string, add, dry bool, emit Emit) {
	n, err := ParseNetwork(spec)
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		for _, h := range hosts {
			var lines []string
			e := err
			switch {
			case e == nil && dry:
				lines, e = foreseeVLAN(ctx, snap, hv, h, n, add)
			case e == nil:
				e = m.vlan(ctx, snap, hv, h, n, add)
			}
			say(emit, h, lines, e)
		}
	})
}

func (m *Manager) vlan(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, node *nodedb.Node, n NetworkSpec, add bool) error {
	name, err := m.hostName(ctx, snap, hv, node.Name)
	if err != nil {
		return err
	}
	defer m.lock(hv.About().Fingerprint + "/" + node.Name).Unlock()
	h, err := hv.Host(ctx, name)
	if err != nil {
		return err
	}
	nm, err := ParseNetMap(node.Attr("hypervisor.netmap"), node.Attr("hypervisor.defaultnet"))
	if err != nil {
		return err
	}
	if add {
		st := &site{m: m, hv: hv, node: node.Name, host: h}
		_, err := st.network(ctx, &Guest{NetMap: nm}, n)
		return err
	}
	p, err := PlanNetwork(n, nm, h)
	if err != nil {
		return err
	}
	if !p.Exists {
		return nil
	}
	return hv.RemovePortGroup(ctx, name, p.PortGroup.Name)
}

// foreseeVLAN is vlan for a dry run.
func foreseeVLAN(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, node *nodedb.Node, n NetworkSpec, add bool) ([]string, error) {
	h, err := lookAtHost(ctx, snap, hv, node)
	if err != nil {
		return nil, err
	}
	nm, err := ParseNetMap(node.Attr("hypervisor.netmap"), node.Attr("hypervisor.defaultnet"))
	if err != nil {
		return nil, err
	}
	p, err := PlanNetwork(n, nm, h)
	switch {
	case err != nil:
		return nil, err
	case add:
		return p.lines(), nil
	case p.Exists:
		return []string{"would remove port group " + p.PortGroup.Name + " from " + p.PortGroup.Switch}, nil
	}
	return nil, nil
}

// RemoveHosts is rmhypervisor: the hosts leave their vCenter. force leaves out
// maintenance mode, which a dead host cannot enter.
func (m *Manager) RemoveHosts(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, force, dry bool, emit Emit) {
	emit = serial(emit)
	for _, h := range hosts {
		lines, err := m.removeHost(ctx, snap, h, force, dry)
		say(emit, h, lines, err)
	}
}

func (m *Manager) removeHost(ctx context.Context, snap *nodedb.Snapshot, n *nodedb.Node, force, dry bool) ([]string, error) {
	if !HasVCenter(n) {
		return nil, Errorf(ErrInvalid, "no vCenter manages it; set hostmanager")
	}
	e, err := VCenterEndpoint(snap, n.HostManager)
	if err != nil {
		return nil, err
	}
	hv, err := m.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	j, ok := as[Joiner](hv)
	a, ok2 := as[HostAdmin](hv)
	if !ok || !ok2 {
		return nil, ErrUnsupported
	}
	name, err := inInventory(ctx, snap, hv, n.Name)
	switch {
	case err != nil || name == "":
		return nil, when(err == nil, "vCenter does not have it in inventory")
	case dry:
		return foreseeRemoval(ctx, hv, name, e, force)
	case !force:
		if err := a.Maintenance(ctx, name, true); err != nil {
			return nil, err
		}
	}
	if err := j.Leave(ctx, name); err != nil {
		return nil, err
	}
	return []string{"removed"}, nil
}

func foreseeRemoval(ctx context.Context, hv Hypervisor, name string, e Endpoint, force bool) (lines []string, err error) {
	h, err := hv.Host(ctx, name)
	if err == nil && !force {
		lines, err = entering(ctx, hv, h)
	}
	if err != nil {
		return nil, err
	}
	return append(lines, "would leave vCenter "+e.String()), nil
}

// Show is lshypervisor.
func (m *Manager) Show(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, emit Emit) {
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		for _, n := range hosts {
			name, err := m.hostName(ctx, snap, hv, n.Name)
			var h *Host
			if err == nil {
				h, err = hv.Host(ctx, name)
			}
			var lines []string
			if err == nil {
				lines, err = describeHost(hv.About(), h, n)
			}
			if err != nil {
				emit(Result{Node: n.Name, Err: err})
				continue
			}
			for _, line := range lines {
				emit(Result{Node: n.Name, Text: line})
			}
		}
	})
}

func describeHost(a About, h *Host, n *nodedb.Node) ([]string, error) {
	room, err := capacityOf(n)
	if err != nil {
		return nil, err
	}
	out := []string{
		"version: " + h.Version + " build " + h.Build,
		strings.TrimSpace("hardware: " + h.Vendor + " " + h.Model),
		fmt.Sprintf("cpus: %d x %d MHz", h.CPUs, h.MHz),
		fmt.Sprintf("memory: %d MB", h.MemoryMB),
	}
	out = append(append(out, room.lines()...), "state: "+hostState(h))
	if a.Licence != "" {
		out = append(out, "licence: "+a.Licence)
	}
	way := "api"
	switch {
	case a.Kind == VPX:
		way = "vCenter"
	case a.Restricted:
		way = "ssh, as " + a.Reason
	}
	out = append(out, "changes: "+way)
	if h.VCenter != "" && a.Kind == ESX {
		out = append(out, "vcenter: "+h.VCenter)
	}
	for _, d := range h.Datastores {
		line := fmt.Sprintf("datastore: %s %s, %s of %s MB free", d.Name, d.URL(), megabytes(d.FreeKB/1024*1024), megabytes(d.CapacityKB/1024*1024))
		if !d.Accessible {
			line += ", not accessible"
		}
		out = append(out, line)
	}
	for _, pg := range h.PortGroups {
		out = append(out, fmt.Sprintf("network: %s on %s, VLAN %d", pg.Name, pg.Switch, pg.VLAN))
	}
	return out, nil
}

func hostState(h *Host) string {
	switch {
	case !h.Connected:
		return "disconnected"
	case h.Maintenance:
		return "maintenance"
	}
	return "online"
}
