package vm

// Place finds room for one more disk on a bus and returns the controller's key
// and the unit. Where no controller of the bus has room it adds one to s and
// says so. IDE has no more than its two channels, whose places CD drives take
// too.
func (s *Spec) Place(bus Bus) (key int32, unit int, added *Controller, err error) {
	if bus == IDE {
		key, unit, err = s.placeIDE()
		return key, unit, nil, err
	}
	for _, c := range s.Controllers {
		if c.Bus != bus {
			continue
		}
		if u, ok := s.freeUnit(c.Key, bus); ok {
			return c.Key, u, nil, nil
		}
	}
	c, err := s.addController(bus)
	if err != nil {
		return 0, 0, nil, err
	}
	return c.Key, 0, c, nil
}

func (s *Spec) placeIDE() (int32, int, error) {
	for _, key := range []int32{200, 201} {
		if u, ok := s.freeUnit(key, IDE); ok {
			return key, u, nil
		}
	}
	return 0, 0, Errorf(ErrInvalid, "VM is at capacity for IDE devices, a drive was not added")
}

// freeUnit is the lowest unit of a controller that nothing is on.
func (s *Spec) freeUnit(key int32, bus Bus) (int, bool) {
	taken := map[int]bool{}
	for _, d := range s.Disks {
		if d.Controller == key {
			taken[d.Unit] = true
		}
	}
	for _, c := range s.CDROMs {
		if c.Controller == key {
			taken[c.Unit] = true
		}
	}
	_, units := bus.limits()
	for u := range units {
		if bus.SCSI() && u == 7 {
			continue
		}
		if !taken[u] {
			return u, true
		}
	}
	return 0, false
}

// addController adds the next controller of a bus; SCSI's four kinds share
// their four numbers.
func (s *Spec) addController(bus Bus) (*Controller, error) {
	n, most := 0, 0
	for {
		most, _ = bus.limits()
		if n >= most {
			return nil, Errorf(ErrInvalid, "%s Controller at capacity, a drive was not added", capName(bus))
		}
		if s.Controller(bus.ControllerKey(n)) == nil {
			break
		}
		n++
	}
	s.Controllers = append(s.Controllers, Controller{bus.ControllerKey(n), bus, n})
	return &s.Controllers[len(s.Controllers)-1], nil
}

func capName(b Bus) string {
	switch {
	case b.SCSI():
		return "SCSI"
	case b == SATA:
		return "SATA"
	case b == NVMe:
		return "NVMe"
	}
	return "IDE"
}
