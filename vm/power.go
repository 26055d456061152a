package vm

import (
	"context"
	"strings"

	"margay/nodedb"
)

// A PowerWord is what rpower is asked.
type PowerWord string

// The words, as xCAT has them for guests.
const (
	WordOn      PowerWord = "on"
	WordOff     PowerWord = "off"
	WordReset   PowerWord = "reset"
	WordBoot    PowerWord = "boot"
	WordStat    PowerWord = "stat"
	WordSoftOff PowerWord = "softoff"
	WordSuspend PowerWord = "suspend"
)

// ParsePowerWord reads rpower's word.
func ParsePowerWord(s string) (PowerWord, error) {
	switch w := PowerWord(strings.ToLower(s)); w {
	case WordOn, WordOff, WordReset, WordBoot, WordStat, WordSoftOff, WordSuspend:
		return w, nil
	case "state", "status":
		return WordStat, nil
	}
	return "", Errorf(ErrInvalid, "unsupported command power %s; on, off, reset, boot, stat, softoff or suspend", s)
}

// A PowerRequest is one rpower.
type PowerRequest struct {
	Word  PowerWord
	Force bool // -f: a guest whose files moved was moved on purpose
	// DryRun says what would be printed and changed, and does nothing.
	DryRun bool
}

// Step decides what a word does to a guest in a state: the operation ("" for
// none) and what is printed when it is done.
func (w PowerWord) Step(state nodedb.PowerState) (PowerOp, string) {
	on, suspended := state == nodedb.PowerOn, state == nodedb.PowerSuspended
	switch w {
	case WordOn:
		if on {
			return "", "on"
		}
		return OpOn, "on"
	case WordBoot:
		switch {
		case on:
			return OpReset, "on reset"
		case suspended:
			return OpOn, "suspend on"
		}
		return OpOn, "off on"
	case WordReset:
		if on {
			return OpReset, "reset"
		}
	case WordOff:
		if on {
			return OpOff, "off"
		}
	case WordSoftOff:
		if on {
			return OpShutdown, "softoff"
		}
	case WordSuspend:
		if on {
			return OpSuspend, "suspend"
		}
		return "", "off"
	}
	return "", string(state)
}

// Power does rpower for guests.
func (m *Manager) Power(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req PowerRequest, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		p := &power{m: m, snap: snap, hv: hv, req: req, emit: emit}
		p.run(ctx, guests)
	})
}

// A power is one rpower on one endpoint.
type power struct {
	m    *Manager
	snap *nodedb.Snapshot
	hv   Hypervisor
	req  PowerRequest
	emit Emit
}

// A step is one guest's share of it.
type step struct {
	g    *Guest
	v    VM
	op   PowerOp
	text string
}

func (p *power) run(ctx context.Context, guests []*Guest) {
	guests, found := look(ctx, p.hv, guests, Query{Brief: !p.changes()}, p.emit)
	if p.req.DryRun {
		p.foresee(guests, found)
		return
	}
	if p.changes() {
		p.register(ctx, guests, found)
	}
	var steps []step
	for _, g := range guests {
		v, ok := found[g.Name]
		if !ok {
			p.unknown(g)
			continue
		}
		op, text := p.req.Word.Step(v.State)
		if op == "" {
			p.emit(Result{Node: g.Name, Text: text, Facts: p.moved(g, v)})
			continue
		}
		steps = append(steps, step{g, v, op, text})
	}
	if p.changes() && p.pushes() {
		steps = p.push(ctx, steps)
	}
	p.order(ctx, steps)
}

// foresee says what would come of it. A guest that the host does not know may
// have files that it would be taken up from; that is not looked for.
func (p *power) foresee(guests []*Guest, found map[string]VM) {
	for _, g := range guests {
		v, ok := found[g.Name]
		if !ok {
			p.unknown(g)
			continue
		}
		op, text := p.req.Word.Step(v.State)
		if op == "" {
			p.emit(Result{Node: g.Name, Text: text})
			continue
		}
		if p.changes() && p.pushes() && v.State != nodedb.PowerSuspended {
			for _, line := range drift(g, v).Describe() {
				p.emit(Result{Node: g.Name, Text: "would change " + line})
			}
		}
		p.emit(Result{Node: g.Name, Text: text + notDone})
	}
}

// notDone is behind what a dry run would do, as with bare metal.
const notDone = " (not done)"

// changes says whether the word may turn a guest on.
func (p *power) changes() bool {
	return p.req.Word == WordOn || p.req.Word == WordReset || p.req.Word == WordBoot
}

func (p *power) unknown(g *Guest) {
	if p.req.Word == WordOn || p.req.Word == WordBoot {
		p.emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "mkvm must be called before use of this function")})
		return
	}
	p.emit(Result{Node: g.Name, Text: string(nodedb.PowerOff)})
}

// moved corrects the table where a vCenter has the guest on another host.
func (p *power) moved(g *Guest, v VM) map[string]string {
	if g.Endpoint.Kind != VPX || v.Host == "" || g.Host == "" {
		return nil
	}
	n := hostNode(p.snap, v.Host)
	if n == nil || n.Name == g.Host {
		return nil
	}
	return map[string]string{"vm.host": n.Name}
}

// register makes guests known again whose files are on the host but which the
// host has forgotten.
func (p *power) register(ctx context.Context, guests []*Guest, found map[string]VM) {
	if p.req.Word == WordReset {
		return
	}
	for _, g := range guests {
		if _, ok := found[g.Name]; ok {
			continue
		}
		v, err := p.m.registerOld(ctx, p.snap, p.hv, g)
		if err == nil {
			found[g.Name] = v
		}
	}
}

// pushes says whether the table's sizes are pushed before a guest starts.
func (p *power) pushes() bool {
	s := strings.ToLower(p.snap.Site("vmwarereconfigonpower"))
	return !(strings.HasPrefix(s, "n") || strings.HasPrefix(s, "d") || s == "0")
}

// push makes guests what the table says before they start. One that runs is
// turned off for it and on again, which is a reset to whoever looks on.
func (p *power) push(ctx context.Context, steps []step) []step {
	var ready, off []step
	for _, s := range steps {
		c := drift(s.g, s.v)
		switch {
		case c.Empty():
			ready = append(ready, s)
		case s.op == OpReset:
			off = append(off, s)
		case s.v.State == nodedb.PowerSuspended:
			ready = append(ready, s) // its memory is in a file: nothing can change
		default:
			if p.change(ctx, s, c) {
				ready = append(ready, s)
			}
		}
	}
	return append(ready, p.turnOff(ctx, off)...)
}

func (p *power) change(ctx context.Context, s step, c *Change) bool {
	if err := p.hv.Reconfigure(ctx, s.v, c); err != nil {
		p.emit(Result{Node: s.g.Name, Err: err})
		return false
	}
	return true
}

func (p *power) turnOff(ctx context.Context, steps []step) []step {
	if len(steps) == 0 {
		return nil
	}
	orders := make([]Order, len(steps))
	for i, s := range steps {
		orders[i] = Order{VM: s.v, Op: OpOff, Answer: p.policy(s.g)}
	}
	var ready []step
	p.hv.Power(ctx, orders, func(i int, err error) {
		s := steps[i]
		if err != nil {
			p.emit(Result{Node: s.g.Name, Err: err})
			return
		}
		s.op, s.v.State = OpOn, nodedb.PowerOff
		ready = append(ready, s)
	})
	var changed []step
	for _, s := range ready {
		if p.change(ctx, s, drift(s.g, s.v)) {
			changed = append(changed, s)
		}
	}
	return changed
}

// drift is how a guest differs from what the table says of it.
func drift(g *Guest, v VM) *Change {
	c := &Change{}
	if g.CPUs != 0 && g.CPUs != v.CPUs {
		c.CPUs = &g.CPUs
	}
	if g.MemoryMB != 0 && g.MemoryMB != v.MemoryMB {
		c.MemoryMB = &g.MemoryMB
	}
	known := g.Node.OS != "" || g.Node.VMGuestOS != ""
	if known && v.GuestID != "" && g.GuestID != v.GuestID {
		c.GuestID = g.GuestID
	}
	return c
}

// policy is what becomes of a guest's questions.
func (p *power) policy(g *Guest) Policy {
	return questionPolicy(p.snap, g, p.req.Force)
}

func questionPolicy(snap *nodedb.Snapshot, g *Guest, force bool) Policy {
	rules, _ := ParseRules(snap.Site("vmwareanswers"))
	p := Policy{Default: g.Endpoint.AutoAnswer, Moved: force, Rules: rules}
	p.own(g.Extra)
	return p
}

func (p *power) order(ctx context.Context, steps []step) {
	orders := make([]Order, len(steps))
	for i, s := range steps {
		orders[i] = Order{VM: s.v, Op: s.op, Answer: p.policy(s.g)}
	}
	if len(orders) == 0 {
		return
	}
	p.hv.Power(ctx, orders, func(i int, err error) {
		s := steps[i]
		if err != nil {
			p.emit(Result{Node: s.g.Name, Err: err})
			return
		}
		p.emit(Result{Node: s.g.Name, Text: s.text, Did: s.op, Facts: p.moved(s.g, s.v)})
	})
}
