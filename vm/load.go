package vm

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"margay/nodedb"
)

// A Load is what a guest uses, by its host's counters of the last 20 seconds.
type Load struct {
	CPUPercent  float64
	CPUMHz      int64
	ActiveKB    int64 // memory that was touched
	ConsumedKB  int64 // memory that it takes of its host
	DiskKBps    int64
	NetworkKBps int64
	Uptime      time.Duration
}

// A Meter reads counters.
type Meter interface {
	// Loads reads the loads of guests that run, in one call; guests of which
	// nothing is known yet have no entry. Keys are VM.ID.
	Loads(ctx context.Context, vms []VM) (map[string]Load, error)
}

// Vitals does rvitals for guests.
func (m *Manager) Vitals(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{}, emit)
		var on []VM
		for _, g := range guests {
			if v, ok := found[g.Name]; ok && v.State == nodedb.PowerOn {
				on = append(on, v)
			}
		}
		meter, ok := as[Meter](hv)
		var loads map[string]Load
		var err error
		if ok && len(on) > 0 {
			loads, err = meter.Loads(ctx, on)
		}
		for _, g := range guests {
			v, there := found[g.Name]
			if !there {
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
				continue
			}
			for _, line := range v.vitals(loads) {
				emit(Result{Node: g.Name, Text: line})
			}
			if err != nil && v.State == nodedb.PowerOn {
				emit(Result{Node: g.Name, Err: err})
			}
		}
	})
}

func (v VM) vitals(loads map[string]Load) []string {
	out := []string{"Power Status: " + string(v.State)}
	if v.State != nodedb.PowerOn {
		return out
	}
	tools := "not running"
	if v.Tools {
		tools = "running"
	}
	out = append(out, "VMware Tools: "+tools)
	if v.Address != "" {
		out = append(out, "IP Address: "+v.Address)
	}
	if l, ok := loads[v.ID]; ok {
		out = append(out, l.lines()...)
	}
	return out
}

func (l Load) lines() []string {
	return []string{
		fmt.Sprintf("CPU Usage: %s %% (%d MHz)", strconv.FormatFloat(l.CPUPercent, 'f', 1, 64), l.CPUMHz),
		fmt.Sprintf("Memory Active: %d MB", l.ActiveKB/1024),
		fmt.Sprintf("Memory Consumed: %d MB", l.ConsumedKB/1024),
		fmt.Sprintf("Disk Usage: %d KB/s", l.DiskKBps),
		fmt.Sprintf("Network Usage: %d KB/s", l.NetworkKBps),
		"Uptime: " + l.Uptime.String(),
	}
}
