package vm

import (
	"context"
	"errors"
	"sync"
)

// A hybrid reads over the API and, where the licence forbids changes through
// it, makes them over SSH. The free licence lets every read pass, so one look
// stays one call.
type hybrid struct {
	Hypervisor
	e    Endpoint
	dial Dialer

	mu    sync.Mutex
	shell Hypervisor // guarded by mu
	limit bool       // the API refused a change; guarded by mu
}

// About tells which way changes go, and why.
func (h *hybrid) About() About {
	a := h.Hypervisor.About()
	a.Via = "api"
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.Restricted || h.limit {
		a.Via, a.Restricted = "api+ssh", true
		if a.Reason == "" {
			a.Reason = ErrRestricted.Error()
		}
	}
	return a
}

// do makes a change over the API if it may and over SSH if not. A licence that
// is changed midway shows in the first change that is refused.
func (h *hybrid) do(ctx context.Context, change func(Hypervisor) error) error {
	if !h.About().Restricted {
		err := change(h.Hypervisor)
		if !errors.Is(err, ErrRestricted) {
			return err
		}
		h.mu.Lock()
		h.limit = true
		h.mu.Unlock()
	}
	sh, err := h.open(ctx)
	if err != nil {
		return err
	}
	return change(sh)
}

func (h *hybrid) open(ctx context.Context) (Hypervisor, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shell != nil {
		return h.shell, nil
	}
	sh, err := h.dial(ctx, h.e)
	if err != nil {
		return nil, Errorf(ErrRestricted, "%v, and SSH to %s does not work either: %v", ErrRestricted, h.e, err)
	}
	h.shell = sh
	return sh, nil
}

// Tune sets the limits of both connections.
func (h *hybrid) Tune(e Endpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.e.Workers, h.e.Tries = e.Workers, e.Tries
	for _, hv := range []Hypervisor{h.Hypervisor, h.shell} {
		if t, ok := hv.(Tuner); ok {
			t.Tune(e)
		}
	}
}

// Close ends both connections.
func (h *hybrid) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shell != nil {
		h.shell.Close()
	}
	return h.Hypervisor.Close()
}

// Power sends the whole batch one way; orders that the licence refused are
// sent again the other way.
func (h *hybrid) Power(ctx context.Context, orders []Order, done func(int, error)) {
	many(ctx, h, orders, done, func(hv Hypervisor, orders []Order, done func(int, error)) { hv.Power(ctx, orders, done) })
}

// Make makes the whole batch one way, and what the licence refused the other.
func (h *hybrid) Make(ctx context.Context, list []Making, done func(int, VM, error)) {
	made := make([]VM, len(list))
	at := make([]int, len(list))
	for i := range at {
		at[i] = i
	}
	many(ctx, h, at, func(i int, err error) { done(i, made[i], err) }, func(hv Hypervisor, at []int, done func(int, error)) {
		part := make([]Making, len(at))
		for k, i := range at {
			part[k] = list[i]
		}
		hv.Make(ctx, part, func(k int, v VM, err error) {
			made[at[k]] = v
			done(k, err)
		})
	})
}

// many does a batch over the API if it may; what the licence refuses of it,
// and the whole where it is known to, it does over SSH.
func many[T any](ctx context.Context, h *hybrid, list []T, done func(int, error), do func(Hypervisor, []T, func(int, error))) {
	var again []int
	if h.About().Restricted {
		for i := range list {
			again = append(again, i)
		}
	} else {
		do(h.Hypervisor, list, func(i int, err error) {
			if errors.Is(err, ErrRestricted) {
				again = append(again, i)
				return
			}
			done(i, err)
		})
	}
	if len(again) == 0 {
		return
	}
	h.mu.Lock()
	h.limit = true
	h.mu.Unlock()
	sh, err := h.open(ctx)
	if err != nil {
		for _, i := range again {
			done(i, err)
		}
		return
	}
	rest := make([]T, len(again))
	for k, i := range again {
		rest[k] = list[i]
	}
	do(sh, rest, func(k int, err error) { done(again[k], err) })
}

// Create makes a guest.
func (h *hybrid) Create(ctx context.Context, at Where, s *Spec) (v VM, err error) {
	err = h.do(ctx, func(hv Hypervisor) error { v, err = hv.Create(ctx, at, s); return err })
	return v, err
}

// Register makes a guest known whose files are there.
func (h *hybrid) Register(ctx context.Context, at Where, vmx Path, name string) (v VM, err error) {
	err = h.do(ctx, func(hv Hypervisor) error { v, err = hv.Register(ctx, at, vmx, name); return err })
	return v, err
}

// Reconfigure changes a guest.
func (h *hybrid) Reconfigure(ctx context.Context, v VM, c *Change) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.Reconfigure(ctx, v, c) })
}

// Remove forgets or destroys a guest.
func (h *hybrid) Remove(ctx context.Context, v VM, purge bool) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.Remove(ctx, v, purge) })
}

// AddSwitch makes a virtual switch.
func (h *hybrid) AddSwitch(ctx context.Context, host string, s Switch) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.AddSwitch(ctx, host, s) })
}

// AddPortGroup makes a port group.
func (h *hybrid) AddPortGroup(ctx context.Context, host string, pg PortGroup) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.AddPortGroup(ctx, host, pg) })
}

// RemovePortGroup removes a port group.
func (h *hybrid) RemovePortGroup(ctx context.Context, host, name string) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.RemovePortGroup(ctx, host, name) })
}

// Mount mounts a datastore.
func (h *hybrid) Mount(ctx context.Context, host string, l Location, label string) (name string, err error) {
	err = h.do(ctx, func(hv Hypervisor) error { name, err = hv.Mount(ctx, host, l, label); return err })
	return name, err
}

// MakeDir makes a folder.
func (h *hybrid) MakeDir(ctx context.Context, host string, p Path) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.MakeDir(ctx, host, p) })
}

// CopyDisk copies a virtual disk.
func (h *hybrid) CopyDisk(ctx context.Context, host string, from, to Path, f Format, progress Progress) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.CopyDisk(ctx, host, from, to, f, progress) })
}

// Delete deletes a file.
func (h *hybrid) Delete(ctx context.Context, host string, p Path) error {
	return h.do(ctx, func(hv Hypervisor) error { return hv.Delete(ctx, host, p) })
}

// admin passes a host's own operations on, if the way that is open has them.
func (h *hybrid) admin(ctx context.Context, change func(HostAdmin) error) error {
	return h.do(ctx, func(hv Hypervisor) error {
		a, ok := hv.(HostAdmin)
		if !ok {
			return ErrUnsupported
		}
		return change(a)
	})
}

// Maintenance enters or leaves maintenance mode.
func (h *hybrid) Maintenance(ctx context.Context, host string, enter bool) error {
	return h.admin(ctx, func(a HostAdmin) error { return a.Maintenance(ctx, host, enter) })
}

// Shutdown turns the host off.
func (h *hybrid) Shutdown(ctx context.Context, host string) error {
	return h.admin(ctx, func(a HostAdmin) error { return a.Shutdown(ctx, host) })
}

// Rescan looks for new storage.
func (h *hybrid) Rescan(ctx context.Context, host string) error {
	return h.admin(ctx, func(a HostAdmin) error { return a.Rescan(ctx, host) })
}

// FormatDisk makes a VMFS datastore of a disk.
func (h *hybrid) FormatDisk(ctx context.Context, host, disk, name string) error {
	return h.admin(ctx, func(a HostAdmin) error { return a.FormatDisk(ctx, host, disk, name) })
}

// FreeDisk is the size of a disk that FormatDisk would format.
func (h *hybrid) FreeDisk(ctx context.Context, host, disk string) (kb int64, err error) {
	err = h.admin(ctx, func(a HostAdmin) error { kb, err = a.FreeDisk(ctx, host, disk); return err })
	return kb, err
}
