package vm

import (
	"context"
	"fmt"
	"sync"

	"margay/nodedb"
)

// List does lsvm: the guests on each host, in inventory order.
func (m *Manager) List(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, long bool, emit Emit) {
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		var vms []VM
		var err error
		names, fails := map[string]string{}, map[string]error{}
		var wg sync.WaitGroup
		wg.Go(func() { vms, err = hv.VMs(ctx, Query{Brief: !long, NoState: true}) })
		m.hostNames(ctx, snap, hv, hosts, names, fails)
		wg.Wait()
		on := make(map[string][]*VM, len(hosts))
		for i := range vms {
			on[vms[i].Host] = append(on[vms[i].Host], &vms[i])
		}
		for _, h := range hosts {
			fail := err
			if fail == nil {
				fail = fails[h.Name]
			}
			if fail != nil {
				emit(Result{Node: h.Name, Err: fail})
				continue
			}
			for _, v := range on[names[h.Name]] {
				emit(Result{Node: h.Name, Text: v.line(long)})
			}
		}
	})
}

func (v *VM) line(long bool) string {
	if !long {
		return v.Name
	}
	s := fmt.Sprintf("%s: %s, %d cpus, %d MB, %s", v.Name, v.State, v.CPUs, v.MemoryMB, v.Path)
	if v.Tools {
		s += ", tools"
	}
	if v.Address != "" {
		s += ", " + v.Address
	}
	if v.Template {
		s += ", template"
	}
	if v.Question != nil {
		s += ", waits for an answer: " + v.Question.Text
	}
	return s
}

// eachHost runs fn for every endpoint that hosts are managed through.
func (m *Manager) eachHost(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, emit Emit,
	fn func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit),
) {
	emit = serial(emit)
	type group struct {
		e     Endpoint
		hosts []*nodedb.Node
	}
	var order []*group
	byKey := map[string]*group{}
	for _, h := range hosts {
		e, err := Route(snap, h.Name)
		if err != nil {
			emit(Result{Node: h.Name, Err: err})
			continue
		}
		g := byKey[e.Key()]
		if g == nil {
			g = &group{e: e}
			byKey[e.Key()] = g
			order = append(order, g)
		}
		g.hosts = append(g.hosts, h)
	}
	var wg sync.WaitGroup
	most, err := endpoints(snap)
	if err != nil {
		for _, h := range hosts {
			emit(Result{Node: h.Name, Err: err})
		}
		return
	}
	slots := make(chan struct{}, most)
	for _, g := range order {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			hv, err := m.Open(ctx, g.e)
			if err != nil {
				for _, h := range g.hosts {
					emit(Result{Node: h.Name, Err: err})
				}
				return
			}
			fn(ctx, hv, g.hosts, emit)
		})
	}
	wg.Wait()
}
