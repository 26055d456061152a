package vm

import (
	"context"
	"errors"
)

// through is do for a further interface of a connection.
func through[T any](ctx context.Context, h *hybrid, change func(T) error) error {
	return h.do(ctx, func(hv Hypervisor) error {
		t, ok := hv.(T)
		if !ok {
			return ErrUnsupported
		}
		return change(t)
	})
}

// Snapshots reads guests' snapshots.
func (h *hybrid) Snapshots(ctx context.Context, vms []VM) (map[string][]Snapshot, error) {
	s, ok := h.Hypervisor.(Snapshotter)
	if !ok {
		return nil, ErrUnsupported
	}
	return s.Snapshots(ctx, vms)
}

// TakeSnapshot takes one.
func (h *hybrid) TakeSnapshot(ctx context.Context, v VM, spec SnapshotSpec, progress Progress) error {
	return through(ctx, h, func(s Snapshotter) error { return s.TakeSnapshot(ctx, v, spec, progress) })
}

// RevertSnapshot goes back to one.
func (h *hybrid) RevertSnapshot(ctx context.Context, v VM, to Snapshot, progress Progress) error {
	return through(ctx, h, func(s Snapshotter) error { return s.RevertSnapshot(ctx, v, to, progress) })
}

// DropSnapshot forgets one.
func (h *hybrid) DropSnapshot(ctx context.Context, v VM, which Snapshot, children bool, progress Progress) error {
	return through(ctx, h, func(s Snapshotter) error { return s.DropSnapshot(ctx, v, which, children, progress) })
}

// Unmount takes a datastore off the host.
func (h *hybrid) Unmount(ctx context.Context, host, name string) error {
	return through(ctx, h, func(u Unmounter) error { return u.Unmount(ctx, host, name) })
}

// KernelNICs reads the cards of the host's kernel.
func (h *hybrid) KernelNICs(ctx context.Context, host string) ([]KernelNIC, error) {
	v, ok := h.Hypervisor.(VMotioner)
	if !ok {
		return nil, ErrUnsupported
	}
	return v.KernelNICs(ctx, host)
}

// SelectVMotion says whether guests move over a card.
func (h *hybrid) SelectVMotion(ctx context.Context, host, device string, on bool) error {
	return through(ctx, h, func(v VMotioner) error { return v.SelectVMotion(ctx, host, device, on) })
}

// Autostarts reads which guests start with the host.
func (h *hybrid) Autostarts(ctx context.Context, host string) (Autostarts, error) {
	a, ok := h.Hypervisor.(Autostarter)
	if !ok {
		return Autostarts{}, ErrUnsupported
	}
	return a.Autostarts(ctx, host)
}

// SetAutostart sets one guest's.
func (h *hybrid) SetAutostart(ctx context.Context, v VM, a Autostart, enable bool) error {
	return through(ctx, h, func(s Autostarter) error { return s.SetAutostart(ctx, v, a, enable) })
}

// Ticket is a way to a guest's screen. The free licence lets the API give none;
// the host's shell may.
func (h *hybrid) Ticket(ctx context.Context, v VM) (Ticket, error) {
	c, ok := h.Hypervisor.(Consoler)
	if !ok {
		return Ticket{}, ErrUnsupported
	}
	t, err := c.Ticket(ctx, v)
	if !errors.Is(err, ErrRestricted) {
		return t, err
	}
	sh, err := h.open(ctx)
	if err == nil {
		if c, ok = sh.(Consoler); ok {
			if t, err = c.Ticket(ctx, v); err == nil {
				return t, nil
			}
		}
	}
	return Ticket{}, Errorf(ErrRestricted, "%v, and SSH gives no ticket either (%v); the host's own client shows the screen: https://%s/ui", ErrRestricted, err, h.e.Addr())
}

// Screenshot is what a guest's screen shows, which only the API tells.
func (h *hybrid) Screenshot(ctx context.Context, v VM) ([]byte, error) {
	c, ok := h.Hypervisor.(Consoler)
	if !ok {
		return nil, ErrUnsupported
	}
	b, err := c.Screenshot(ctx, v)
	if errors.Is(err, ErrRestricted) {
		return nil, Errorf(ErrRestricted, "%v, and the host has no page with its guests' screens; its own client shows them: https://%s/ui", ErrRestricted, h.e.Addr())
	}
	return b, err
}

// Licence is the one that the host has.
func (h *hybrid) Licence(ctx context.Context, host string) (Licence, error) {
	l, ok := h.Hypervisor.(Licenser)
	if !ok {
		return Licence{}, ErrUnsupported
	}
	return l.Licence(ctx, host)
}

// SetLicence gives the host another. It is asked for over the API whatever the
// old one forbids: the new one may lift that.
func (h *hybrid) SetLicence(ctx context.Context, host, key string) error {
	if l, ok := h.Hypervisor.(Licenser); ok {
		if err := l.SetLicence(ctx, host, key); !errors.Is(err, ErrRestricted) {
			return err
		}
	}
	sh, err := h.open(ctx)
	if err != nil {
		return err
	}
	l, ok := sh.(Licenser)
	if !ok {
		return ErrUnsupported
	}
	return l.SetLicence(ctx, host, key)
}
