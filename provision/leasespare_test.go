package provision

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// leased fills net1's range of 150 addresses; the lease of the first ends at end, and
// each other a second after the one before.
func leased(t *testing.T, s *Service, end time.Time) {
	t.Helper()
	all := []nodedb.Record{nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dynamicrange=10.1.0.100-10.1.0.249")}
	for i := range 150 {
		l := Lease{MAC: fmt.Sprintf("02:00:00:00:77:%02x", i), Expires: end.Add(time.Duration(i) * time.Second)}
		attrs := l.attrs()
		all = append(all, nodedbtest.Record(kindLease, fmt.Sprintf("10.1.0.%d", 100+i), "lease.mac="+l.MAC, "lease.expires="+attrs["lease.expires"]))
	}
	nodedbtest.Put(t, s.DB, all...)
}

func (s *Service) offers(t *testing.T, i int) (netip.Addr, error) {
	t.Helper()
	m := stranger(0, netboot.AskDiscover)
	m.MAC[3], m.MAC[4], m.PXE = byte(i>>8), byte(i), false
	p, err := s.Plan(t.Context(), m)
	if err != nil {
		return netip.Addr{}, err
	}
	return p.Addr.Addr(), nil
}

// TestUsedUpCosts: those who ask in vain do not take the time of those who renew.
func TestUsedUpCosts(t *testing.T) {
	s, c := newService(t)
	leased(t, s, c.now.Add(time.Hour))
	nodedbtest.Put(t, s.DB, nodedbtest.Site("dhcppingcheck", "no"))
	if a, err := s.offers(t, 0); !refusedFor(err, "used up") {
		t.Fatalf("%v %v, want that the range is used up", a, err)
	}
	i := 0
	if n := testing.AllocsPerRun(20, func() { i++; s.offers(t, i) }); n > 100 {
		t.Errorf("each who asks in vain costs %v allocations: all leases are looked at", n)
	}
	c.tick(2 * time.Hour)
	if a, err := s.offers(t, 1000); err != nil || a != netip.MustParseAddr("10.1.0.100") {
		t.Errorf("when all leases have ended: %v %v", a, err)
	}
	if n := testing.AllocsPerRun(20, func() { i++; s.offers(t, i) }); n > 200 {
		t.Errorf("each who is given another's former address costs %v allocations", n)
	}
}

// TestSpares: what is longest out of use goes first, and what is given back is
// there at once.
func TestSpares(t *testing.T) {
	s, c := newService(t)
	leased(t, s, c.now.Add(-3*time.Second))
	for i, want := range []string{"10.1.0.100", "10.1.0.101", "10.1.0.102", ""} {
		a, err := s.offers(t, i)
		if want == "" && !refusedFor(err, "used up") || want != "" && (err != nil || a.String() != want) {
			t.Errorf("machine %d: %v %v, want %q", i, a, err, want)
		}
	}
	back := stranger(0, netboot.AskRelease)
	back.MAC, back.Requested = mac("02:00:00:00:77:63"), netip.MustParseAddr("10.1.0.199")
	if _, err := s.Plan(t.Context(), back); !errors.Is(err, netboot.ErrIgnore) {
		t.Fatal(err)
	}
	c.tick(time.Millisecond)
	if a, err := s.offers(t, 10); err != nil || a != back.Requested {
		t.Errorf("after a machine gave %s back: %v %v", back.Requested, a, err)
	}
	if err := s.Release(t.Context(), []netip.Addr{netip.MustParseAddr("10.1.0.220")}); err != nil {
		t.Fatal(err)
	}
	if a, err := s.offers(t, 11); err != nil || a.String() != "10.1.0.220" {
		t.Errorf("after margay release: %v %v", a, err)
	}
	// another server's machine gives one back
	nodedbtest.Put(t, s.DB, nodedbtest.Record(kindLease, "10.1.0.240", "lease.mac=02:00:00:00:77:8c", "lease.expires="+strconv.FormatInt(c.now.Unix()-1, 10)))
	c.tick(lookAgain)
	if a, err := s.offers(t, 12); err != nil || a.String() != "10.1.0.240" {
		t.Errorf("after another server's word: %v %v", a, err)
	}
}
