package esxsh

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"margay/nodedb"
	"margay/vm"
)

// Make makes guests.
func (c *Conn) Make(ctx context.Context, list []vm.Making, done func(int, vm.VM, error)) {
	var wg sync.WaitGroup
	var mu sync.Mutex // done is for one at a time
	slots := make(chan struct{}, c.workers())
	for i, m := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var v vm.VM
			var err error
			if m.Old.IsZero() {
				v, err = c.Create(ctx, m.At, m.Spec)
			} else {
				v, err = c.Register(ctx, m.At, m.Old, m.Name)
			}
			mu.Lock()
			defer mu.Unlock()
			done(i, v, err)
		})
	}
	wg.Wait()
}

// Create makes a guest: its folder, its disks, its .vmx, and registers it.
// What was made is taken back if a later step fails.
func (c *Conn) Create(ctx context.Context, _ vm.Where, s *vm.Spec) (vm.VM, error) {
	if err := safe(s.Name, s.Home.String()); err != nil {
		return vm.VM{}, err
	}
	dir, own, err := c.folder(ctx, s)
	if err != nil {
		return vm.VM{}, err
	}
	v, err := c.create(ctx, s, dir)
	if err != nil && own {
		c.undo(context.WithoutCancel(ctx), dir)
	}
	return v, err
}

// undo takes back what was made of a guest. The host may know it already, where
// the command that says so was given up.
func (c *Conn) undo(ctx context.Context, dir vm.Path) {
	if out, err := c.run(ctx, "vim-cmd vmsvc/getallvms"); err == nil {
		for _, l := range parseVMs(out) {
			if l.path.Dir() == dir {
				c.run(ctx, "vim-cmd vmsvc/unregister "+l.id)
			}
		}
	}
	c.run(ctx, line("rm", "-rf", dir.Volume()))
}

// folder makes the guest's folder, unless the request names one that is there.
func (c *Conn) folder(ctx context.Context, s *vm.Spec) (dir vm.Path, made bool, err error) {
	if s.Home.File != "" {
		return s.Home.Dir(), false, nil
	}
	dir = s.Home.Join(s.Name)
	for n := 1; ; n++ {
		_, err = c.run(ctx, line("mkdir", dir.Volume()))
		if !errors.Is(err, vm.ErrExists) || n == 10 {
			return dir, err == nil, err
		}
		dir = s.Home.Join(s.Name + "_" + strconv.Itoa(n))
	}
}

func (c *Conn) create(ctx context.Context, s *vm.Spec, dir vm.Path) (vm.VM, error) {
	spec := *s
	spec.Disks = append([]vm.Disk(nil), s.Disks...)
	for i := range spec.Disks {
		d := &spec.Disks[i]
		if !d.New {
			continue
		}
		if d.Parent != nil {
			return vm.VM{}, vm.Errorf(vm.ErrUnsupported, "disks cannot be linked over SSH; clone with -d")
		}
		if err := c.newDisk(ctx, d, dir, s.Name); err != nil {
			return vm.VM{}, err
		}
	}
	text, err := c.d.Codec.Encode(&spec)
	if err != nil {
		return vm.VM{}, err
	}
	vmx := dir.Join(s.Name + ".vmx")
	if err := c.write(ctx, vmx, text); err != nil {
		return vm.VM{}, err
	}
	return c.Register(ctx, vm.Where{}, vmx, s.Name)
}

// newDisk makes a disk's files under the first name that is free: beside the
// guest, or in a folder of its name on another datastore.
func (c *Conn) newDisk(ctx context.Context, d *vm.Disk, home vm.Path, name string) error {
	dir := home
	if d.Path.Datastore != "" && d.Path.Datastore != home.Datastore {
		dir = vm.Path{Datastore: d.Path.Datastore, File: name}
		if _, err := c.run(ctx, line("mkdir", "-p", dir.Volume())); err != nil {
			return err
		}
	}
	format := d.Format
	if format == "" {
		format = vm.Thin
	}
	for n := 0; n < 100; n++ {
		p := dir.Join(diskName(name, n))
		_, err := c.run(ctx, line("vmkfstools", "-c", fmt.Sprintf("%dK", d.KB), "-d", string(format), p.Volume()))
		if err == nil {
			d.Path, d.New = p, false
			return nil
		}
		if errors.As(err, new(lost)) {
			return fmt.Errorf("%w; disk %s may have been made", err, p) // or may have been there: it is not deleted
		}
		if !errors.Is(err, vm.ErrExists) {
			return err
		}
	}
	return vm.Errorf(vm.ErrExists, "%s has a hundred disks", dir)
}

func diskName(name string, n int) string {
	if n == 0 {
		return name + ".vmdk"
	}
	return fmt.Sprintf("%s_%d.vmdk", name, n)
}

// write replaces a file whole: half a .vmx would be no guest at all.
func (c *Conn) write(ctx context.Context, p vm.Path, text []byte) error {
	if err := safe(p.String()); err != nil {
		return err
	}
	tmp := p.Volume() + ".new"
	if _, err := c.exec(ctx, "cat > "+quote(tmp), text, nil); err != nil {
		return err
	}
	_, err := c.run(ctx, line("mv", tmp, p.Volume()))
	return err
}

var staleID = regexp.MustCompile(`name = "(\d+)"`)

// Register makes a guest known whose files are there. An entry that the host
// has kept for the same file is dropped first.
func (c *Conn) Register(ctx context.Context, _ vm.Where, vmx vm.Path, name string) (vm.VM, error) {
	if err := safe(vmx.String(), name); err != nil {
		return vm.VM{}, err
	}
	cmd := line("vim-cmd", "solo/registervm", vmx.Volume(), name)
	out, err := c.run(ctx, cmd)
	if m := staleID.FindStringSubmatch(out); errors.Is(err, vm.ErrExists) && m != nil {
		if c.isStale(ctx, m[1]) {
			c.run(ctx, "vim-cmd vmsvc/unregister "+m[1])
			out, err = c.run(ctx, cmd)
		}
	}
	v := vm.VM{Name: name, Path: vmx, State: nodedb.PowerOff}
	if errors.As(err, new(lost)) {
		err = c.settle(ctx, err, func(ctx context.Context) bool {
			var missing error
			v.ID, missing = c.id(ctx, v)
			return missing == nil
		})
		return v, err
	}
	if err != nil {
		return vm.VM{}, err
	}
	v.ID = lastLine(out)
	if _, err := strconv.Atoi(v.ID); err != nil { // old hosts print nothing
		v.ID = ""
		v.ID, err = c.id(ctx, v)
		return v, err
	}
	return v, nil
}

// isStale says whether the host no longer lists a guest that it refuses to
// register again.
func (c *Conn) isStale(ctx context.Context, id string) bool {
	out, err := c.run(ctx, "vim-cmd vmsvc/getallvms")
	if err != nil {
		return false
	}
	for _, l := range parseVMs(out) {
		if l.id == id {
			return false
		}
	}
	return true
}

// Reconfigure changes a guest's .vmx and has the host read it again. ESXi
// reads the file of a guest only while that is off.
func (c *Conn) Reconfigure(ctx context.Context, v vm.VM, ch *vm.Change) error {
	id, err := c.id(ctx, v)
	if err != nil {
		return err
	}
	state, err := c.state(ctx, id)
	if err != nil {
		return err
	}
	if state != nodedb.PowerOff {
		return vm.Errorf(vm.ErrPowerState, "over SSH a guest can be changed only while it is off (it is %s)", state)
	}
	old, err := c.run(ctx, line("cat", v.Path.Volume()))
	if err != nil {
		return err
	}
	change := *ch
	change.Extra = append(slices.Clone(ch.Extra), ch.SerialSettings()...)
	if err := c.rewrite(ctx, v, id, []byte(old), &change); err != nil {
		for i, d := range change.AddDisks { // what was made for it goes again
			if ch.AddDisks[i].New && !d.New {
				c.run(context.WithoutCancel(ctx), line("vmkfstools", "-U", d.Path.Volume()))
			}
		}
		return err
	}
	return c.purge(ctx, ch)
}

// rewrite does a change to the .vmx, and puts the old one back where the host
// does not read the new one.
func (c *Conn) rewrite(ctx context.Context, v vm.VM, id string, old []byte, change *vm.Change) error {
	if err := c.prepare(ctx, v, change); err != nil {
		return err
	}
	text, err := c.d.Codec.Change(old, change)
	if err != nil {
		return err
	}
	if err = c.write(ctx, v.Path, text); err == nil {
		_, err = c.run(ctx, "vim-cmd vmsvc/reload "+id)
	}
	if err != nil {
		c.write(context.WithoutCancel(ctx), v.Path, old)
		c.run(context.WithoutCancel(ctx), "vim-cmd vmsvc/reload "+id)
		return err
	}
	return nil
}

// prepare makes the files of new disks, and then grows old ones: that cannot be
// taken back.
func (c *Conn) prepare(ctx context.Context, v vm.VM, ch *vm.Change) error {
	ch.AddDisks = append([]vm.Disk(nil), ch.AddDisks...)
	for i := range ch.AddDisks {
		if !ch.AddDisks[i].New {
			continue
		}
		if err := c.newDisk(ctx, &ch.AddDisks[i], v.Path.Dir(), v.Name); err != nil {
			return err
		}
	}
	for _, g := range ch.GrowDisks {
		if _, err := c.run(ctx, line("vmkfstools", "-X", fmt.Sprintf("%dK", g.KB), g.Path.Volume())); err != nil {
			return err
		}
	}
	return nil
}

// purge deletes the files of disks that the guest no longer has.
func (c *Conn) purge(ctx context.Context, ch *vm.Change) error {
	for _, r := range ch.RemoveDisks {
		if !r.Purge {
			continue
		}
		if _, err := c.run(ctx, line("vmkfstools", "-U", r.Disk.Path.Volume())); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets a guest, or destroys it with its files.
func (c *Conn) Remove(ctx context.Context, v vm.VM, purge bool) error {
	id, err := c.id(ctx, v)
	if err != nil {
		return err
	}
	word := "unregister"
	if purge {
		word = "destroy"
	}
	_, err = c.run(ctx, "vim-cmd vmsvc/"+word+" "+id)
	return c.settle(ctx, err, func(ctx context.Context) bool { return c.isStale(ctx, id) })
}
