package main

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"margay/netboot/dns"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func newZones(t *testing.T, records ...nodedb.Record) *zones {
	t.Helper()
	return &zones{own: 53, db: nodedbtest.New(t, append(records,
		nodedbtest.Site("domain", "cluster.test"), nodedbtest.Site("master", "10.1.0.1"), nodedbtest.Site("forwarders", "192.0.2.53,192.0.2.54:5353"),
		nodedbtest.Network("net1", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Node("esx1", "all", "hosts.ip=10.1.0.11"))...)}
}

func (z *zones) set(t *testing.T, kind nodedb.Kind, name, column, value string) {
	t.Helper()
	if err := z.db.Update(context.Background(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: kind, Name: name}, column, value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestNamesAnew: names are made anew, with another serial, for what changes
// them, before the change is acknowledged; what a boot writes leaves them.
func TestNamesAnew(t *testing.T) {
	z := newZones(t)
	first := z.current()
	z.set(t, "margay.timeline", "esx1", "timeline.steps", "x")
	z.set(t, nodedb.KindPasswd, "system", "passwd.username", "root")
	z.set(t, "margay.lease", "10.1.9.9", "lease.expires", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
	if z.current() != first {
		t.Error("a timeline, a password and a lease made other names")
	}
	serial := func() uint32 { return z.current().Zones()[0].Serial }
	for _, c := range []struct {
		kind                nodedb.Kind
		name, column, value string
	}{
		{nodedb.KindNode, "esx1", "hosts.ip", "10.1.0.12"},
		{nodedb.KindSite, "domain", "site.value", "other.test"},
		{nodedb.KindNetwork, "10.1.0.0" + nodedb.KeySep + "255.255.0.0", "networks.domain", "third.test"},
		{"margay.withdrawn", "esx1", "withdrawn.dns", "1"},
		{"margay.leasename", "10.1.9.9", "leasename.name", "guest"},
		{"margay.name", "x.third.test", "name.a", "10.1.0.99"},
	} {
		names, before := z.current(), serial()
		z.set(t, c.kind, c.name, c.column, c.value)
		if z.current() == names || serial() <= before {
			t.Errorf("%s %s: the same names, serial %d after %d", c.kind, c.column, serial(), before)
		}
	}
	if h, ok := z.current().Host("guest.third.test"); !ok || h.Addrs[0] != netip.MustParseAddr("10.1.9.9") || h.TTL != 300*time.Second {
		t.Errorf("the lease's name has %v", h)
	}
	if z.last.Stale(time.Now()) || !z.last.Stale(time.Now().Add(time.Hour)) {
		t.Error("the names are not stale when the lease ends, or are so before")
	}
	names := z.current()
	z.set(t, "margay.lease", "10.1.9.9", "lease.expires", strconv.FormatInt(time.Now().Unix(), 10))
	z.set(t, "margay.leasename", "10.1.9.9", "leasename.name", "")
	if _, ok := z.current().Host("guest.third.test"); ok || z.current() == names {
		t.Error("a lease that has ended has a name")
	}
}

// TestPolicy: what the table says of others is followed, and only that makes
// another policy.
func TestPolicy(t *testing.T) {
	z := newZones(t, nodedbtest.Site("dnssecondaries", "10.1.0.5"), nodedbtest.Site("dnsclients", "10.0.0.0/8"))
	first := z.policy()
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.54:5353")}
	if !slices.Equal(first.Upstreams, want) || len(first.Secondaries) != 1 || len(first.Clients) != 1 {
		t.Errorf("%+v", first)
	}
	z.set(t, nodedb.KindNode, "esx1", "hosts.ip", "10.1.0.12")
	if z.policy() != first {
		t.Error("a node made another policy")
	}
	z.set(t, nodedb.KindSite, "forwarders", "site.value", "127.0.0.1,192.0.2.55")
	if got := z.policy().Upstreams; !slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.55:53")}) {
		t.Errorf("upstreams %v", got)
	}
}

// TestMail: the cluster's domains have the site's mail servers, reverse zones
// have none.
func TestMail(t *testing.T) {
	z := newZones(t, nodedbtest.Site("dnsmx", "10 mail.example.com"))
	for _, zone := range z.current().Zones() {
		want := 0
		if zone.Name == "cluster.test" {
			want = 1
		}
		if len(zone.MX) != want {
			t.Errorf("zone %s has mail servers %v", zone.Name, zone.MX)
		}
	}
}

var _ dns.Names = (*names)(nil)
