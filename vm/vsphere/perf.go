package vsphere

import (
	"context"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// realtime is the interval of the counters that hosts keep for an hour, in
// seconds.
const realtime = 20

// The counters that make a vm.Load, by group.name.rollup, each with where its
// value goes. Percentages come in hundredths.
func counters() map[string]func(*vm.Load, int64) {
	return map[string]func(*vm.Load, int64){
		"cpu.usage.average":    func(l *vm.Load, v int64) { l.CPUPercent = float64(v) / 100 },
		"cpu.usagemhz.average": func(l *vm.Load, v int64) { l.CPUMHz = v },
		"mem.active.average":   func(l *vm.Load, v int64) { l.ActiveKB = v },
		"mem.consumed.average": func(l *vm.Load, v int64) { l.ConsumedKB = v },
		"disk.usage.average":   func(l *vm.Load, v int64) { l.DiskKBps = v },
		"net.usage.average":    func(l *vm.Load, v int64) { l.NetworkKBps = v },
		"sys.uptime.latest":    func(l *vm.Load, v int64) { l.Uptime = time.Duration(v) * time.Second },
	}
}

// Loads reads the counters of guests, of all in one call.
func (c *Conn) Loads(ctx context.Context, vms []vm.VM) (map[string]vm.Load, error) {
	ids, err := c.counterIDs(ctx)
	if err != nil {
		return nil, err
	}
	var metrics []types.PerfMetricId
	for id := range ids {
		metrics = append(metrics, types.PerfMetricId{CounterId: id}) // instance "": the guest as a whole
	}
	req := types.QueryPerf{This: *c.vc.ServiceContent.PerfManager}
	for _, v := range vms {
		req.QuerySpec = append(req.QuerySpec, types.PerfQuerySpec{Entity: vmRef(v), MetricId: metrics, MaxSample: 1, IntervalId: realtime, Format: string(types.PerfFormatNormal)})
	}
	res, err := methods.QueryPerf(ctx, c.vc, &req)
	if err != nil {
		return nil, wrap(err)
	}
	out := map[string]vm.Load{}
	for _, b := range res.Returnval {
		e, ok := b.(*types.PerfEntityMetric)
		if !ok {
			continue
		}
		l := out[e.Entity.Value]
		for _, s := range e.Value {
			series, ok := s.(*types.PerfMetricIntSeries)
			if !ok || len(series.Value) == 0 || series.Id.Instance != "" {
				continue
			}
			if set := ids[series.Id.CounterId]; set != nil {
				set(&l, max(0, series.Value[len(series.Value)-1])) // -1: no sample
			}
		}
		out[e.Entity.Value] = l
	}
	return out, nil
}

// counterIDs are the endpoint's numbers of the counters, asked for once a
// connection.
func (c *Conn) counterIDs(ctx context.Context) (map[int32]func(*vm.Load, int64), error) {
	c.perfMu.Lock()
	defer c.perfMu.Unlock()
	if c.perfIDs != nil {
		return c.perfIDs, nil
	}
	if c.vc.ServiceContent.PerfManager == nil {
		return nil, vm.ErrUnsupported
	}
	var pm mo.PerformanceManager
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, *c.vc.ServiceContent.PerfManager, []string{"perfCounter"}, &pm); err != nil {
		return nil, wrap(err)
	}
	want, ids := counters(), map[int32]func(*vm.Load, int64){}
	for i := range pm.PerfCounter {
		p := &pm.PerfCounter[i]
		name := p.GroupInfo.GetElementDescription().Key + "." + p.NameInfo.GetElementDescription().Key + "." + string(p.RollupType)
		if set := want[name]; set != nil {
			ids[p.Key] = set
		}
	}
	c.perfIDs = ids
	return ids, nil
}
