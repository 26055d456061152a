package provision

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"margay/nodedb/nodedbtest"
)

// A node's lines: its own, and those of its other interfaces.
func TestHostsLines(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Site("domain", "cluster.test"),
		nodedbtest.Record("node", "n1", "nodelist.groups=all", "hosts.ip=10.0.0.1", "hosts.hostnames=web,www", "mac.mac=52:54:00:12:34:56",
			"hosts.otherinterfaces=-ib0:10.2.0.1,store:10.3.0.1",
			"nics.nicips=eth0!10.0.0.1,eth1!10.4.0.1|fd00::1,eth2!10.5.0.1", "nics.nichostnamesuffixes=eth1!-e|-six", "nics.nicaliases=eth1!moe larry|curly"))
	tests := []struct {
		form HostsForm
		want string
	}{
		{HostsForm{}, "10.0.0.1 n1 n1.cluster.test web www;10.2.0.1 n1-ib0 n1-ib0.cluster.test;10.3.0.1 store store.cluster.test;" +
			"10.4.0.1 n1-e n1-e.cluster.test moe larry;fd00::1 n1-six n1-six.cluster.test curly;10.5.0.1 n1-eth2 n1-eth2.cluster.test"},
		{HostsForm{LongFirst: true}, "10.0.0.1 n1.cluster.test n1 web www"},
		{HostsForm{OtherFirst: true}, "10.0.0.1 web www n1 n1.cluster.test"},
		{HostsForm{AddOthers: true}, "10.0.0.1 n1 n1.cluster.test web www n1-ib0 store n1-e n1-six n1-eth2"},
		{HostsForm{LinkLocal: true}, "fe80::5054:ff:fe12:3456 n1 n1.cluster.test"},
	}
	for _, tt := range tests {
		n, err := db.Snapshot().Node("n1")
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, l := range HostsLines(db.Snapshot(), n, tt.form) {
			lines = append(lines, l.Text)
		}
		if got := strings.Join(lines, ";"); !strings.HasPrefix(got, tt.want) || tt.form == (HostsForm{}) && got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.form, got, tt.want)
		}
	}
}

// Only lines of the same address or name change; the rest, and its order,
// stays.
func TestHostsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	const before = "# ours\n127.0.0.1 localhost n1\n10.0.0.9 n1.old N1 # moved\n\n10.0.0.2 other\n10.0.0.1 stale\nnonsense"
	if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	n1 := line("10.0.0.1", "n1", "10.0.0.1 n1 n1.cluster.test")
	n3 := line("10.0.0.3", "n3", "10.0.0.3 n3")
	steps := []struct {
		fn   func(*HostsFile)
		want string
	}{
		{func(h *HostsFile) { h.Put(n1); h.Put(n3); h.Put(n1) }, "# ours\n127.0.0.1 localhost n1\n10.0.0.1 n1 n1.cluster.test\n\n10.0.0.2 other\nnonsense\n10.0.0.3 n3\n"},
		{func(h *HostsFile) { // what is an alias of one line may have another
			h.Put(line("10.0.0.1", "n1", "10.0.0.1 web n1-ib0 n1 n1.cluster.test"))
			h.Put(line("10.0.1.1", "n1-ib0", "10.0.1.1 n1-ib0 n1-ib0.cluster.test"))
			h.Put(line("10.0.0.1", "n1", "10.0.0.1 n1 n1.cluster.test n1-ib0 web"))
		}, "# ours\n127.0.0.1 localhost n1\n10.0.0.1 n1 n1.cluster.test n1-ib0 web\n\n10.0.0.2 other\nnonsense\n10.0.0.3 n3\n10.0.1.1 n1-ib0 n1-ib0.cluster.test\n"},
		{func(h *HostsFile) {
			h.Remove(HostsLine{Name: "n1-ib0"})
			h.Remove(HostsLine{Name: "N1"})
			h.Remove(line("10.0.0.3", "x", ""))
		}, "# ours\n127.0.0.1 localhost n1\n\n10.0.0.2 other\nnonsense\n"},
	}
	last := before
	for i, step := range steps {
		err := UpdateHosts(path, func(h *HostsFile) *HostsFile { step.fn(h); return h })
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
		if got := read(t, path+".xcatbak"); got != last {
			t.Errorf("step %d: kept %q, want %q", i, got, last)
		}
		last = step.want
	}
	if err := UpdateHosts(filepath.Join(t.TempDir(), "no", "hosts"), func(*HostsFile) *HostsFile { return NewHosts() }); err == nil {
		t.Error("written where there is no directory")
	}
}

func line(addr, name, text string) HostsLine {
	return HostsLine{netip.MustParseAddr(addr), name, text}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
