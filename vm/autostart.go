package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
)

// An Autostart is what a host does with a guest when it starts itself.
type Autostart struct {
	On    bool
	Order int // from 1; 0: after those that have one
	Delay int // seconds until the next is started; -1: as the host has it
}

// Autostarts are those of a host's guests.
type Autostarts struct {
	Enabled bool                 // the host starts guests at all
	Guests  map[string]Autostart // by the guest's ID
}

// An Autostarter says which guests start with their host.
type Autostarter interface {
	Autostarts(ctx context.Context, host string) (Autostarts, error)
	// SetAutostart sets one guest's, and lets the host start guests at all if
	// enable says so.
	SetAutostart(ctx context.Context, v VM, a Autostart, enable bool) error
}

// An AutostartRequest is one "autostart".
type AutostartRequest struct {
	Word   string // on, off, stat
	Order  *int   // nil: as it is
	Delay  *int   // nil: as it is
	Others bool   // that other guests will be started too is all right
}

// Autostart does "autostart".
func (m *Manager) Autostart(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req AutostartRequest, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		by, ok := as[Autostarter](hv)
		if !ok {
			fail(guests, emit, ErrUnsupported)
			return
		}
		guests, found := look(ctx, hv, guests, Query{}, emit)
		a := &autostart{hv: hv, by: by, req: req}
		for _, g := range guests {
			v, ok := found[g.Name]
			if !ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
				continue
			}
			lock := m.lock(g.Endpoint.Key() + "/autostart/" + v.Host)
			text, err := a.one(ctx, v)
			lock.Unlock()
			emit(Result{Node: g.Name, Text: textUnless(err, text), Err: err})
		}
	})
}

type autostart struct {
	hv  Hypervisor
	by  Autostarter
	req AutostartRequest
}

func (a *autostart) one(ctx context.Context, v VM) (string, error) {
	on, err := a.by.Autostarts(ctx, v.Host) // another guest's order may have moved this one's
	if err != nil {
		return "", err
	}
	have := on.Guests[v.ID]
	if a.req.Word == "stat" {
		return have.text(on.Enabled), nil
	}
	want := a.req.of(have)
	if v.Template && want.On {
		return "", Errorf(ErrUnsupported, "it is a template, which is never started")
	}
	if have == want && (on.Enabled || !want.On) || !have.On && !want.On {
		return have.text(on.Enabled), nil
	}
	n := starters(on)
	if !have.On {
		n++
	}
	if want.Order > n {
		return "", Errorf(ErrInvalid, "order %d: %d guests start with the host, this one among them; say 1 to %d", want.Order, n, n)
	}
	enable := want.On && !on.Enabled
	if enable && !a.req.Others {
		if err := a.others(ctx, v, on); err != nil {
			return "", err
		}
	}
	if err := a.by.SetAutostart(ctx, v, want, enable); err != nil {
		return "", err
	}
	return want.text(on.Enabled || enable), nil
}

// of is what a guest is to have that has this now.
func (r AutostartRequest) of(have Autostart) Autostart {
	if r.Word != "on" {
		return Autostart{Delay: -1}
	}
	want := have
	if !have.On {
		want = Autostart{Delay: -1}
	}
	want.On = true
	if r.Order != nil {
		want.Order = *r.Order
	}
	if r.Delay != nil {
		want.Delay = *r.Delay
	}
	return want
}

// starters is how many guests start with their host.
func starters(on Autostarts) int {
	n := 0
	for _, x := range on.Guests {
		if x.On {
			n++
		}
	}
	return n
}

// others refuses to let a host start guests that starts none, if other guests
// than the one that is meant would be started from then on.
func (a *autostart) others(ctx context.Context, v VM, on Autostarts) error {
	vms, err := a.hv.VMs(ctx, Query{Brief: true})
	if err != nil {
		return err
	}
	var names []string
	for _, o := range vms {
		if o.ID != v.ID && on.Guests[o.ID].On {
			names = append(names, o.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return Errorf(ErrInvalid, "the host starts no guests so far; if it does it will start %s too: --others says that is right", strings.Join(names, ", "))
}

func (a Autostart) text(enabled bool) string {
	if !a.On {
		return "off"
	}
	out := "on"
	if a.Order > 0 {
		out += fmt.Sprintf(", order %d", a.Order)
	}
	if a.Delay >= 0 {
		out += fmt.Sprintf(", delay %d s", a.Delay)
	}
	if !enabled {
		out += ", but the host starts no guests"
	}
	return out
}

// StartAction and StartOrder are how hosts write it.
func (a Autostart) StartAction() string {
	if a.On {
		return "powerOn"
	}
	return "none"
}

// StartOrder is the order as hosts write it: -1 where there is none.
func (a Autostart) StartOrder() int {
	if !a.On || a.Order <= 0 {
		return -1
	}
	return a.Order
}
