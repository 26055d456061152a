package vm

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// imageSizes are the sizes of a guest that is made of an image: its disks are
// as large as the image's unless larger ones are asked for, and what more is
// asked for are further disks.
func (r MakeRequest) imageSizes(s Size) Size {
	disks := append([]int64(nil), s.Disks...)
	for i, d := range r.Image.Disks {
		kb := (d.Bytes + 1023) / 1024
		if i < len(disks) {
			disks[i] = max(disks[i], kb)
		} else {
			disks = append(disks, kb)
		}
	}
	s.Disks = disks
	return s
}

// fromImage makes a guest of an image: its disks are copied from the image
// that its datastore has, or is given now.
func (mk *maker) fromImage(ctx context.Context, g *Guest, st *site, size Size, ready ready, vmx Path, facts map[string]string, emit Emit) Result {
	fail := func(err error) Result { return Result{Node: g.Name, Err: err} }
	img := mk.req.Image
	if img.Disc || len(img.Disks) == 0 {
		return fail(Errorf(ErrInvalid, "image %s is a disc; insert it with chvm --optical", img.Name))
	}
	for i, d := range img.Disks {
		if i < len(size.Disks) && size.Disks[i]*1024 < d.Bytes {
			return fail(Errorf(ErrInvalid, "-s: disk %d of image %s is %s MB; a disk cannot be made smaller", i+1, img.Name, megabytes(d.Bytes/1024)))
		}
	}
	bus := g.Bus
	if g.Node.VMStorageModel == "" && img.Bus != "" {
		g.Bus = img.Bus // what the image's system has a driver for
	}
	spec, notes, err := mk.build(g, mk.req.imageSizes(size), ready)
	g.Bus = bus
	if err != nil {
		return fail(err)
	}
	if spec.Firmware == "" {
		spec.Firmware = img.Firmware
	}
	if g.Node.OS == "" && g.Node.VMGuestOS == "" && img.GuestID != "" {
		spec.GuestID = img.GuestID
	}
	more, err := st.offered(ctx, g, spec)
	if err != nil {
		return fail(err)
	}
	notes = append(notes, more...)
	loaded, err := mk.m.LoadImage(ctx, mk.snap, g.Host, LoadRequest{Image: img, From: mk.req.From, Datastore: spec.Disks[0].Path.Datastore}, progress(emit, g.Name))
	if err != nil {
		return fail(err)
	}
	if loaded.Copied {
		emit(Result{Node: g.Name, Text: fmt.Sprintf("image %s: %s", img.Name, loaded.How)})
	}
	if err := mk.fill(ctx, g, st, spec, loaded, vmx, emit); err != nil {
		return fail(err)
	}
	return Result{Node: g.Name, Facts: facts, Warn: strings.Join(notes, "; ")}
}

// fill copies the disks, makes the guest and lets those grow that are to be
// larger than the image.
func (mk *maker) fill(ctx context.Context, g *Guest, st *site, spec *Spec, loaded Loaded, vmx Path, emit Emit) error {
	dir := vmx.Dir()
	spec.Home = vmx
	if mk.req.Linked {
		spec.Home = Path{Datastore: vmx.Datastore}
	} else if err := mk.hv.MakeDir(ctx, st.host.Name, dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	larger := map[int]int64{}
	report := progress(emit, g.Name)
	for i, from := range loaded.Disks {
		d := &spec.Disks[i]
		if kb := (mk.req.Image.Disks[i].Bytes + 1023) / 1024; d.KB > kb {
			larger[i] = d.KB
			d.KB = kb
		}
		if mk.req.Linked {
			parent := from
			d.Parent = &parent
			continue
		}
		to := dir.Join(diskFile(g.Name, i))
		err := mk.hv.CopyDisk(ctx, st.host.Name, from, to, d.Format, func(p int) { report((i*100 + p) / len(loaded.Disks)) })
		if err != nil {
			mk.discard(ctx, st, dir)
			return fmt.Errorf("copying %s: %w", from, err)
		}
		d.Path, d.New = to, false
	}
	if mk.req.Linked && len(larger) > 0 {
		return Errorf(ErrInvalid, "a linked disk cannot be larger than its image; leave --linked or -s out")
	}
	v, err := mk.hv.Create(ctx, st.where(g), spec)
	if err != nil {
		if !mk.req.Linked {
			mk.discard(ctx, st, dir)
		}
		return err
	}
	if len(larger) == 0 {
		return nil
	}
	return mk.grow(ctx, g, v, larger)
}

// discard deletes what was made of a guest that failed.
func (mk *maker) discard(ctx context.Context, st *site, dir Path) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stop()
	mk.hv.Delete(ctx, st.host.Name, dir)
}

// grow makes disks larger in one step.
func (mk *maker) grow(ctx context.Context, g *Guest, v VM, larger map[int]int64) error {
	vms, err := mk.hv.VMs(ctx, Query{Names: []string{g.Name}, Detail: true})
	if err != nil {
		return err
	}
	if len(vms) != 1 || vms[0].Spec == nil {
		return Errorf(ErrNotFound, "the guest %s that was made is not there", v.Name)
	}
	c := &Change{}
	for i, d := range vms[0].Spec.Disks {
		if kb := larger[i]; kb > d.KB {
			d.KB = kb
			c.GrowDisks = append(c.GrowDisks, d)
		}
	}
	return mk.hv.Reconfigure(ctx, vms[0], c)
}
