package nodedb

import (
	"net/netip"
	"strings"
)

// A bmcKey is how a BMC is reached: by its address, or by its name in lower
// case.
type bmcKey struct {
	addr netip.Addr
	name string
}

func bmcKeyOf(text string) (k bmcKey, ok bool) {
	if text == "" {
		return k, false
	}
	if a, err := parseAddr(text); err == nil && a.IsValid() {
		return bmcKey{addr: a}, true
	}
	return bmcKey{name: strings.ToLower(text)}, true
}

// bmc is how a node's BMC is reached, by whatever method.
func (s *slot) bmc() string {
	if v := s.indexed("ipmi.bmc"); v != "" {
		return v
	}
	return s.indexed("openbmc.bmc")
}

// namesByBMC returns the names of the nodes with a BMC, sorted. Only those who
// write addresses ask, so there is an index from the first question on.
func (s *Snapshot) namesByBMC(k bmcKey) []string {
	if s.byBMC {
		return s.bmcs.names(k)
	}
	s.asked.Store(true)
	var list []string
	for name, rec := range s.kind(KindNode).all() {
		if key, ok := bmcKeyOf(rec.bmc()); ok && key == k {
			list = append(list, name)
		}
	}
	return list
}

// makeBMCs makes the index of BMCs, if it is wanted and not there.
func (c *change) makeBMCs() {
	if c.next.byBMC || !c.next.asked.Load() {
		return
	}
	c.next.bmcs, c.next.byBMC = newIndex[bmcKey](), true
	for name, rec := range c.next.kind(KindNode).all() {
		if k, ok := bmcKeyOf(rec.bmc()); ok {
			c.next.bmcs.add(c.e, k, name)
		}
	}
}

func (c *change) indexBMC(name string, old, now *slot) {
	before, after := old.bmc(), now.bmc()
	if before == after {
		return
	}
	if k, ok := bmcKeyOf(before); ok {
		c.next.bmcs.remove(c.e, k, name)
	}
	if k, ok := bmcKeyOf(after); ok {
		c.next.bmcs.add(c.e, k, name)
	}
}
