package vm

import (
	"context"
	"fmt"
	"strconv"

	"margay/nodedb"
)

// Inventory does rinv for guests. save is rinv -t: what the guests are goes
// into the table.
func (m *Manager) Inventory(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, save bool, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{Detail: true}, emit)
		for _, g := range guests {
			v, ok := found[g.Name]
			switch {
			case !ok:
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
				continue
			case v.Spec == nil || v.Invalid:
				emit(Result{Node: g.Name, Err: Errorf(ErrInvalid, "VM is in an invalid state")})
				continue
			}
			for _, line := range v.Inventory() {
				emit(Result{Node: g.Name, Text: line})
			}
			if save {
				emit(m.save(ctx, hv, g, v))
			}
		}
	})
}

// Inventory is what rinv prints of a guest, in rinv's order.
func (v VM) Inventory() []string {
	out := []string{
		"Managed Object Reference: " + v.ID,
		"UUID/GUID: " + SwapUUID(v.UUID),
		fmt.Sprintf("CPUs: %d", v.CPUs),
		fmt.Sprintf("Memory: %d MB", v.MemoryMB),
	}
	for _, d := range v.Spec.Disks {
		out = append(out, d.String())
	}
	for _, n := range v.Spec.NICs {
		out = append(out, n.Label+": "+n.MAC)
	}
	return out
}

// save turns a guest into facts for the table.
func (m *Manager) save(ctx context.Context, hv Hypervisor, g *Guest, v VM) Result {
	facts := map[string]string{
		"vm.cpus":   strconv.Itoa(v.CPUs),
		"vm.memory": strconv.FormatInt(v.MemoryMB, 10),
	}
	h, err := hv.Host(ctx, v.Host)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	d := h.Datastore(v.Path.Datastore)
	if d == nil {
		return Result{Node: g.Name, Facts: facts}
	}
	column := "vm.storage"
	if g.Config != nil {
		column = "vm.cfgstore"
	}
	facts[column] = keepModels(g, column, d.URL())
	return Result{Node: g.Name, Facts: facts}
}

// URL is how vm.storage names the datastore.
func (d Datastore) URL() string {
	if d.RemoteHost != "" {
		return Location{Scheme: NFS, Server: d.RemoteHost, Export: d.RemotePath}.String()
	}
	return Location{Scheme: VMFS, Name: d.Name}.String()
}

// keepModels puts a location in place of the first, with its model and with
// the others behind it.
func keepModels(g *Guest, column, url string) string {
	if column != "vm.storage" || len(g.Storage) == 0 {
		return url
	}
	out := ""
	for i, l := range g.Storage {
		s := l.String()
		if i == 0 {
			s = url
		} else {
			out += ","
		}
		if l.Bus != "" {
			s += "=" + l.Bus.Word()
		}
		out += s
	}
	return out
}

// Word is xCAT's word for a bus.
func (b Bus) Word() string {
	switch b {
	case LSILogic:
		return "scsi"
	case LSISAS:
		return "sas"
	}
	return string(b)
}
