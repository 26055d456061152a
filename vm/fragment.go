package vm

import "fmt"

// A Fragment is what an operator adds to guests in another program's words, as
// OpenNebula's RAW does in libvirt's. What is empty is not said.
type Fragment struct {
	SCSI     Bus      // kind of SCSI controllers
	Card     NICModel // of cards whose model nobody named
	Cores    int      // per socket
	Firmware string
	Settings []Setting
	Unused   []string // what it says besides, and means nothing to ESXi
}

// prepare lets a fragment say what the table leaves open. What the table says
// otherwise is a conflict; "scsi" there is any kind of SCSI.
func (f *Fragment) prepare(g *Guest) error {
	if f == nil {
		return nil
	}
	if f.SCSI != "" {
		for _, b := range append([]*Bus{&g.Bus}, busesOf(g)...) {
			switch {
			case *b == LSILogic, *b == IDE && b == &g.Bus && g.Node.VMStorageModel == "":
				*b = f.SCSI
			case b.SCSI() && *b != f.SCSI:
				return Errorf(ErrInvalid, "the fragment wants the controller %s, the table %s; take one of them away", f.SCSI, *b)
			}
		}
	}
	switch {
	case f.Card == "":
	case g.NICModel == "":
		g.NICModel = string(f.Card)
	default:
		if have, _ := ParseNICModel(g.NICModel); have != f.Card {
			return Errorf(ErrInvalid, "the fragment wants cards to be %s, vmnicnicmodel %s; take one of them away", f.Card, g.NICModel)
		}
	}
	return nil
}

// busesOf are the buses that a guest's locations name. Its locations are its
// own from then on.
func busesOf(g *Guest) []*Bus {
	g.Storage = append([]Location(nil), g.Storage...)
	var out []*Bus
	for i := range g.Storage {
		if g.Storage[i].Bus != "" {
			out = append(out, &g.Storage[i].Bus)
		}
	}
	return out
}

// finish puts the rest into a guest's hardware; notes are what a fragment says
// that is not used.
func (f *Fragment) finish(s *Spec) (notes []string, err error) {
	if f == nil {
		return nil, nil
	}
	if f.Cores > 0 {
		if s.CPUs%f.Cores != 0 {
			return nil, Errorf(ErrInvalid, "the fragment wants sockets of %d cores, and %d cpus do not divide into them", f.Cores, s.CPUs)
		}
		s.CoresPerSocket = f.Cores
	}
	if f.Firmware != "" {
		if s.Firmware != "" && s.Firmware != f.Firmware {
			return nil, Errorf(ErrInvalid, "the fragment wants the firmware %s, the guest %s", f.Firmware, s.Firmware)
		}
		s.Firmware = f.Firmware
	}
	for _, e := range f.Settings {
		if err := CheckSetting(e.Key); err != nil {
			return nil, fmt.Errorf("fragment: %w", err)
		}
		if have, ok := s.Setting(e.Key); ok && have != e.Value {
			return nil, Errorf(ErrInvalid, "the fragment sets %s to %q, vmothersetting to %q; take one of them away", e.Key, e.Value, have)
		}
		s.Set(e.Key, e.Value)
	}
	for _, u := range f.Unused {
		notes = append(notes, "not used: "+u)
	}
	return notes, nil
}

// build is a guest's hardware with what a fragment adds.
func (mk *maker) build(g *Guest, size Size, ready ready) (*Spec, []string, error) {
	if err := mk.req.Fragment.prepare(g); err != nil {
		return nil, nil, err
	}
	spec, notes, err := g.Spec(size, ready.datastores, ready.networks)
	if err != nil {
		return nil, nil, err
	}
	more, err := mk.req.Fragment.finish(spec)
	return spec, append(notes, more...), err
}
