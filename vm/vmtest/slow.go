package vmtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// SlowTasks makes tasks of these names take a time, on every World there is;
// 0 makes them quick again. It is for programs with nothing else in them.
func SlowTasks(d time.Duration, names ...string) {
	cfg := simulator.DelayConfig{}
	if d > 0 {
		cfg.MethodDelay = map[string]int{"LockHandoff": 0} // or nobody could look at the guest meanwhile
		for _, n := range names {
			cfg.MethodDelay[n] = int(d / time.Millisecond)
		}
	}
	simulator.TaskDelay = cfg
}

// Empty removes all guests and their files.
func (w *World) Empty() {
	for _, o := range w.model.Map().All("VirtualMachine") {
		v := object.NewVirtualMachine(w.inUse, o.Reference())
		if t, err := v.Destroy(context.Background()); err == nil {
			_ = t.Wait(context.Background())
		}
	}
	for _, o := range w.model.Map().All("Datastore") {
		dir := o.(*simulator.Datastore).Info.GetDatastoreInfo().Url
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// Fill makes bare guests, quicker than any client would.
func (w *World) Fill(names []string) error {
	ctx := context.Background()
	m := w.model.Map()
	hosts := hostsInOrder(m)
	dc := m.Any("Datacenter").(*simulator.Datacenter)
	folder := object.NewFolder(w.inUse, dc.VmFolder)
	jobs := make(chan int)
	errs := make(chan error, 8)
	for range 8 {
		go func() {
			var failed error
			for i := range jobs {
				h := hosts[i%len(hosts)]
				pool, err := object.NewHostSystem(w.inUse, h.Self).ResourcePool(ctx)
				if err == nil {
					var t *object.Task
					t, err = folder.CreateVM(ctx, types.VirtualMachineConfigSpec{Name: names[i], MemoryMB: 512, NumCPUs: 1, GuestId: "otherGuest64",
						Files: &types.VirtualMachineFileInfo{VmPathName: "[" + w.opts.Datastores[0] + "]"}}, pool, object.NewHostSystem(w.inUse, h.Self))
					if err == nil {
						err = t.Wait(ctx)
					}
				}
				failed = errors.Join(failed, err)
			}
			errs <- failed
		}()
	}
	for i := range names {
		jobs <- i
	}
	close(jobs)
	var failed error
	for range 8 {
		failed = errors.Join(failed, <-errs)
	}
	return failed
}
