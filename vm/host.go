package vm

import (
	"context"
	"fmt"
	"strings"

	"margay/nodedb"
)

// A HostOp is something that is done to one host. It returns what is printed;
// "" prints nothing.
type HostOp func(ctx context.Context, hv Hypervisor, name string) (string, error)

// Hosts does an operation on each host, over its vCenter if it has one.
func (m *Manager) Hosts(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, op HostOp, emit Emit) {
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		for _, h := range hosts {
			name, err := m.hostName(ctx, snap, hv, h.Name)
			text := ""
			if err == nil {
				text, err = op(ctx, hv, name)
			}
			emit(Result{Node: h.Name, Text: textUnless(err, text), Err: err})
		}
	})
}

// admin is an operation that only needs a host's administrator.
func admin(text string, do func(context.Context, HostAdmin, string) error) HostOp {
	return func(ctx context.Context, hv Hypervisor, name string) (string, error) {
		a, ok := as[HostAdmin](hv)
		if !ok {
			return "", ErrUnsupported
		}
		return text, do(ctx, a, name)
	}
}

// EnterMaintenance is chhypervisor -m.
func EnterMaintenance() HostOp {
	return admin("hypervisor in maintenance mode", func(ctx context.Context, a HostAdmin, h string) error {
		return a.Maintenance(ctx, h, true)
	})
}

// ExitMaintenance is chhypervisor -o.
func ExitMaintenance() HostOp {
	return admin("hypervisor online", func(ctx context.Context, a HostAdmin, h string) error {
		return a.Maintenance(ctx, h, false)
	})
}

// ShowMaintenance is chhypervisor -s.
func ShowMaintenance() HostOp {
	return func(ctx context.Context, hv Hypervisor, name string) (string, error) {
		h, err := hv.Host(ctx, name)
		if err != nil {
			return "", err
		}
		if h.Maintenance {
			return "hypervisor in maintenance mode", nil
		}
		return "hypervisor online", nil
	}
}

// ShutdownHost is rshutdown: maintenance first, as ESXi wants it.
func ShutdownHost() HostOp {
	return admin("shutdown initiated", func(ctx context.Context, a HostAdmin, h string) error {
		if err := a.Maintenance(ctx, h, true); err != nil {
			return err
		}
		return a.Shutdown(ctx, h)
	})
}

// Rescan is rescansan.
func Rescan() HostOp {
	return admin("", func(ctx context.Context, a HostAdmin, h string) error { return a.Rescan(ctx, h) })
}

// FormatDisk is formatdisk: the one command that puts a file system on a disk.
// id is the disk's identifier, with or without "naa.".
func FormatDisk(id, name string) HostOp {
	if !strings.Contains(id, ".") {
		id = "naa." + id
	}
	return admin("", func(ctx context.Context, a HostAdmin, h string) error { return a.FormatDisk(ctx, h, id, name) })
}

// VLAN is chhypervisor --addvlan and --removevlan. A port group is made as
// vm.nics would have it made.
func (m *Manager) VLAN(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, spec string, add bool, emit Emit) {
	n, err := ParseNetwork(spec)
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		for _, h := range hosts {
			e := err
			if e == nil {
				e = m.vlan(ctx, snap, hv, h, n, add)
			}
			emit(Result{Node: h.Name, Err: e})
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

// RemoveHosts is rmhypervisor: the hosts leave their vCenter. force leaves out
// maintenance mode, which a dead host cannot enter.
func (m *Manager) RemoveHosts(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, force bool, emit Emit) {
	emit = serial(emit)
	for _, h := range hosts {
		err := m.removeHost(ctx, snap, h, force)
		emit(Result{Node: h.Name, Text: textUnless(err, "removed"), Err: err})
	}
}

func (m *Manager) removeHost(ctx context.Context, snap *nodedb.Snapshot, h *nodedb.Node, force bool) error {
	if !HasVCenter(h) {
		return Errorf(ErrInvalid, "no vCenter manages it; set hostmanager")
	}
	e, err := VCenterEndpoint(snap, h.HostManager)
	if err != nil {
		return err
	}
	hv, err := m.Open(ctx, e)
	if err != nil {
		return err
	}
	j, ok := as[Joiner](hv)
	a, ok2 := as[HostAdmin](hv)
	if !ok || !ok2 {
		return ErrUnsupported
	}
	name, err := inInventory(ctx, snap, hv, h.Name)
	if err != nil || name == "" {
		return when(err == nil, "vCenter does not have it in inventory")
	}
	if !force {
		if err := a.Maintenance(ctx, name, true); err != nil {
			return err
		}
	}
	return j.Leave(ctx, name)
}

// Adopt is mkhypervisor: a host that runs is taken on, whoever installed it.
// Its certificate is pinned by the connection, what can be done with it is
// found out, and if the table names a vCenter it joins that.
func (m *Manager) Adopt(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, emit Emit) {
	emit = serial(emit)
	for _, h := range hosts {
		lines, err := m.adopt(ctx, snap, h)
		for _, line := range lines {
			emit(Result{Node: h.Name, Text: line})
		}
		facts := map[string]string{}
		if err == nil && h.HostType == "" {
			facts["hypervisor.type"] = "esx"
		}
		emit(Result{Node: h.Name, Err: err, Facts: facts})
	}
}

func (m *Manager) adopt(ctx context.Context, snap *nodedb.Snapshot, n *nodedb.Node) ([]string, error) {
	e, err := HostEndpoint(snap, n.Name)
	if err != nil {
		return nil, err
	}
	hv, err := m.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	h, err := hv.Host(ctx, "")
	if err != nil {
		return nil, err
	}
	lines, err := describeHost(hv.About(), h, n)
	if err != nil {
		return nil, err
	}
	if !HasVCenter(n) {
		if h.VCenter != "" {
			lines = append(lines, "managed by vCenter "+h.VCenter+"; set hostmanager to it")
		}
		return lines, nil
	}
	ve, err := VCenterEndpoint(snap, n.HostManager)
	if err != nil {
		return lines, err
	}
	vc, err := m.Open(ctx, ve)
	if err != nil {
		return lines, err
	}
	name, err := m.hostName(ctx, snap, vc, n.Name)
	if err != nil {
		return lines, err
	}
	lines = append(lines, fmt.Sprintf("vCenter %s: %s", ve, name))
	text, err := m.reconnect(ctx, snap, vc, n)
	if err != nil {
		return lines, fmt.Errorf("vCenter %s has lost it, and connecting it again: %w", ve, err)
	}
	if text != "connected already" {
		lines = append(lines, "vCenter "+ve.String()+": "+text)
	}
	return m.adoptVMotion(ctx, vc, name, n, lines)
}

// adoptVMotion has a host move guests over the card that its hostinterface
// names, once it is in its vCenter.
func (m *Manager) adoptVMotion(ctx context.Context, vc Hypervisor, name string, n *nodedb.Node, lines []string) ([]string, error) {
	want := vmotionOf(n)
	if want == "" {
		return lines, nil
	}
	text, err := SelectVMotion(want)(ctx, vc, name)
	if err != nil {
		return lines, err
	}
	return append(lines, text), nil
}

// SelectVMotion is chhypervisor --vmotion: guests move over the card that is
// named, by its device or its port group, and over no other; "off" has them
// move over none.
func SelectVMotion(want string) HostOp {
	return func(ctx context.Context, hv Hypervisor, name string) (string, error) {
		v, ok := as[VMotioner](hv)
		if !ok {
			return "", ErrUnsupported
		}
		cards, err := v.KernelNICs(ctx, name)
		if err != nil {
			return "", err
		}
		chosen := ""
		var have []string
		for _, k := range cards {
			have = append(have, k.Device+" ("+k.Network+")")
			if k.Device == want || k.Network == want {
				if chosen != "" {
					return "", Errorf(ErrInvalid, "%s and %s are both on %s; name one of them", chosen, k.Device, want)
				}
				chosen = k.Device
			}
		}
		if chosen == "" && want != "off" {
			return "", Errorf(ErrNotFound, "no card of its kernel is %s or on such a network; it has %s", want, strings.Join(have, ", "))
		}
		for _, on := range []bool{true, false} { // first the new one, so that there always is one
			for _, k := range cards {
				if is := k.Device == chosen; is != on || k.VMotion == is {
					continue
				}
				if err := v.SelectVMotion(ctx, name, k.Device, on); err != nil {
					return "", err
				}
			}
		}
		if chosen == "" {
			return "vmotion: off", nil
		}
		return "vmotion: " + chosen, nil
	}
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
