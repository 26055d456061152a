package bmc_test

import (
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision/bmc"
)

func TestTargetOf(t *testing.T) {
	node := func(name string, attrs ...string) nodedb.Record { return nodedbtest.Node(name, "all,rack1", attrs...) }
	db := nodedbtest.New(t,
		nodedbtest.Password("ipmi", "ADMIN", "pool"),
		nodedbtest.Password("openbmc", "root", "0penBmc"),
		nodedbtest.Site("ipmitimeout", "3"), nodedbtest.Site("ipmiretries", "1"), nodedbtest.Site("ipmiciphers", "3, 17"), nodedbtest.Site("ipmimaxp", "9"),
		nodedbtest.Group("rack1", "ipmi.username=rackadm"),
		node("full", "nodehm.mgt=ipmi", "ipmi.bmc=10.0.0.1", "ipmi.username=u", "ipmi.password=p"),
		node("group", "nodehm.mgt=ipmi", "ipmi.bmc=bmc7:6230", "ipmi.password=p"),
		node("pool", "nodehm.mgt=redfish", "ipmi.bmc=10.0.0.2", "ipmi.username="),
		node("obmc", "nodehm.mgt=openbmc", "openbmc.bmc=[fe80::1]:8443"),
		node("guest", "nodehm.mgt=esx"),
		node("none"),
		node("bare", "nodehm.mgt=ipmi"),
		node("evil", "nodehm.mgt=ipmi", "ipmi.bmc=10.0.0.1/../x"),
		node("power", "nodehm.mgt=esx", "nodehm.power=redfish", "ipmi.bmc=fe80::2"),
	)
	snap := db.Snapshot()
	of := func(name string) (bmc.Target, error) {
		n, err := snap.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		return bmc.TargetOf(snap, n)
	}
	tests := []struct {
		node           string
		kind           bmc.Kind
		address        string
		port           int
		user, password string
		err            error
	}{
		{"full", bmc.IPMI, "10.0.0.1", 0, "u", "p", nil},
		{"group", bmc.IPMI, "bmc7", 6230, "rackadm", "p", nil},
		{"pool", bmc.Redfish, "10.0.0.2", 0, "rackadm", "pool", nil},
		{"obmc", bmc.Redfish, "fe80::1", 8443, "root", "0penBmc", nil},
		{"power", bmc.Redfish, "fe80::2", 0, "rackadm", "pool", nil},
		{node: "guest", err: bmc.ErrNotBMC},
		{node: "none", err: bmc.ErrNotBMC},
		{node: "bare", err: nodedb.ErrInvalid},
		{node: "evil", err: nodedb.ErrInvalid},
	}
	for _, tt := range tests {
		got, err := of(tt.node)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.node, err, tt.err)
		}
		if err != nil {
			continue
		}
		if got.Kind != tt.kind || got.Address != tt.address || got.Port != tt.port || got.User != tt.user || string(got.Password) != tt.password {
			t.Errorf("%s: %+v with %q", tt.node, got, string(got.Password))
		}
		if got.Patience() != 6*time.Second || len(got.Ciphers) != 2 || got.Ciphers[0] != 3 {
			t.Errorf("%s: patience %v, ciphers %v", tt.node, got.Patience(), got.Ciphers)
		}
	}
	if l := bmc.LimitsOf(snap); l.Busy != 9 {
		t.Errorf("limits %+v", l)
	}
}

// FuzzTarget holds the address of a BMC to one host and one port, whatever was
// typed.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "bmc1", "bmc1:623", "[fe80::1]:443", "fe80::1", "a@b", "a/b", ":1", "x:0", "x:99999", "[::1", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := bmc.ParseAddress(s)
		if err != nil {
			return
		}
		host, port, err := net.SplitHostPort(target.HostPort(623))
		if err != nil || host != target.Address || host == "" {
			t.Errorf("%q: %q does not split: %v", s, target.HostPort(623), err)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			t.Errorf("%q: port %q", s, port)
		}
	})
}
