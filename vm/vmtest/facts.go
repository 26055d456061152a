package vmtest

import (
	"context"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// HostFacts are what a test makes otherwise of a host.
type HostFacts struct {
	VMotion     bool
	CPUModel    string
	Maintenance bool
	State       types.HostSystemConnectionState
}

// ChangeHost changes what a host is.
func (w *World) ChangeHost(name string, change func(*HostFacts)) {
	m := w.model.Map()
	for _, h := range hostsInOrder(m) {
		if name != "" && h.Name != name {
			continue
		}
		ctx := &simulator.Context{Context: context.Background(), Map: m}
		m.WithLock(ctx, h, func() {
			hw := *h.Summary.Hardware
			f := HostFacts{h.Summary.Config.VmotionEnabled, hw.CpuModel, h.Runtime.InMaintenanceMode, h.Runtime.ConnectionState}
			was := f.VMotion
			change(&f)
			if f.VMotion != was {
				w.setVMotion(h, "vmk0", f.VMotion)
			}
			hw.CpuModel = f.CPUModel
			m.Update(ctx, h, []types.PropertyChange{
				{Name: "summary.config.vmotionEnabled", Val: f.VMotion}, {Name: "summary.hardware", Val: hw},
				{Name: "runtime.inMaintenanceMode", Val: f.Maintenance}, {Name: "runtime.connectionState", Val: f.State},
			})
		})
	}
}

// change changes a guest's properties.
func (w *World) change(guest string, changes ...types.PropertyChange) {
	m := w.model.Map()
	for _, o := range m.All("VirtualMachine") {
		if v := o.(*simulator.VirtualMachine); v.Name == guest {
			ctx := &simulator.Context{Context: context.Background(), Map: m}
			m.WithLock(ctx, v, func() { m.Update(ctx, v, changes) })
		}
	}
}

// SetGuestID makes a guest one of another system.
func (w *World) SetGuestID(guest, id string) {
	w.change(guest, types.PropertyChange{Name: "config.guestId", Val: id}, types.PropertyChange{Name: "summary.config.guestId", Val: id})
}

// LastClone is what the last clone was asked to be.
func (w *World) LastClone() *types.VirtualMachineCloneSpec {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastClone
}
