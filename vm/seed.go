package vm

import (
	"bytes"
	"context"

	"margay/nodedb"
)

// A Seeder makes the disc that configures one guest at its first boot.
type Seeder func(n *nodedb.Node) ([]byte, error)

// seedFile is what a guest's disc is called, in its own folder.
func seedFile(v *VM) Path { return v.Path.Dir().Join(v.Name + "-seed.iso") }

// Seed makes each guest's disc, puts it into the guest's folder and inserts it
// into its drive; a guest without a drive gets one. A disc of before is
// replaced.
func (m *Manager) Seed(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, make Seeder, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{Detail: true}, emit)
		for _, g := range guests {
			v, ok := found[g.Name]
			if !ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
				continue
			}
			err := m.seed(ctx, snap, hv, g, &v, make)
			emit(Result{Node: g.Name, Text: textUnless(err, "seed inserted: "+seedFile(&v).String()), Err: err})
		}
	})
}

func (m *Manager) seed(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, g *Guest, v *VM, make Seeder) error {
	if v.Spec == nil {
		return Errorf(ErrInvalid, "VM is in an invalid state")
	}
	iso, err := make(g.Node)
	if err != nil {
		return err
	}
	fs, ok := as[Filer](hv)
	if !ok {
		return ErrUnsupported
	}
	host := v.Host
	if hv.About().Kind == ESX {
		host = g.Host
	}
	change, err := insert(v, seedFile(v))
	if err != nil {
		return err
	}
	// A file that is in a drive is locked.
	if change.EditCDROM != nil && v.Spec.CDROMs[0].ISO == seedFile(v) {
		out := *change.EditCDROM
		out.ISO, out.Connected = Path{}, false
		if err := hv.Reconfigure(ctx, *v, &Change{EditCDROM: &out}); err != nil {
			return err
		}
	}
	if err := fs.Put(ctx, host, seedFile(v), bytes.NewReader(iso), int64(len(iso))); err != nil {
		return err
	}
	return hv.Reconfigure(ctx, *v, change)
}

// insert is the change that puts a disc into a guest's drive.
func insert(v *VM, iso Path) (*Change, error) {
	if len(v.Spec.CDROMs) > 0 {
		cd := v.Spec.CDROMs[0]
		cd.ISO, cd.Connected = iso, true
		return &Change{EditCDROM: &cd}, nil
	}
	spec := cloneSpec(*v.Spec)
	if v.State == nodedb.PowerOn {
		return nil, needsOff("adding a CD drive")
	}
	key, unit, added, err := spec.Place(IDE)
	if err != nil {
		key, unit, added, err = spec.Place(SATA)
	}
	if err != nil {
		return nil, err
	}
	c := &Change{AddCDROM: &CDROM{Key: -50, Controller: key, Unit: unit, ISO: iso, Connected: true}}
	if added != nil {
		c.AddControllers = append(c.AddControllers, *added)
	}
	return c, nil
}
