package vm

import (
	"errors"
	"strings"
	"testing"

	"margay/nodedb/nodedbtest"
)

// A model is refused where the guest's hardware has none.
func TestModelFits(t *testing.T) {
	for _, tt := range []struct {
		model   NICModel
		version string
		ok      bool
	}{
		{VMXNet3, "vmx-04", false}, {VMXNet3, "vmx-07", true}, {VMXNet3, "", true}, {VMXNet3, "vmx-21", true},
		{E1000e, "vmx-07", false}, {E1000e, "vmx-08", true}, {E1000, "vmx-03", true}, {VMXNet2, "vmx-03", false}, {Flexible, "vmx-13", true},
	} {
		if err := tt.model.fits(tt.version); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s on %s: %v", tt.model, tt.version, err)
		}
	}
	db := nodedbtest.New(t, nodedbtest.Node("esx1", "hosts"), nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://d", "vm.nics=a,b=e1000e", "vm.othersettings=virtualHW.version=7"))
	snap := db.Snapshot()
	n, err := snap.Node("vm1")
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGuest(snap, n)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Spec(Size{CPUs: 1, MemoryMB: 512}, map[string]string{"vmfs://d": "d"}, []string{"a", "b"})
	if err == nil || !strings.Contains(err.Error(), "network 2: hardware version 7 has no e1000e, which came with version 8") {
		t.Errorf("a guest of version 7 with an e1000e: %v", err)
	}
}

// A guest's own rules go before the site's.
func TestOwnRules(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Site("vmwareanswers", "msg.uuid.altered=moved;msg.other=cancel"), nodedbtest.Node("esx1", "hosts"),
		nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.othersettings=answer.msg.uuid.altered=I copied it;msg.autoAnswer=TRUE"),
		nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1"))
	snap := db.Snapshot()
	q := Question{ID: "1", Text: "msg.uuid.altered:moved or copied?", Choices: []Choice{{"0", "Cancel"}, {"1", "I _moved it"}, {"2", "I _copied it"}}, Default: 0}
	other := Question{ID: "2", Text: "msg.strange:well?", Choices: []Choice{{"0", "Cancel"}, {"1", "Go on"}}, Default: 1}
	for name, want := range map[string][2]string{"vm1": {"2", "1"}, "vm2": {"1", "0"}} {
		n, err := snap.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		g, err := NewGuest(snap, n)
		if err != nil {
			t.Fatal(err)
		}
		p := questionPolicy(snap, g, false)
		if key, _ := p.Answer(q); key != want[0] {
			t.Errorf("%s: moved or copied: %s, want %s", name, key, want[0])
		}
		if key, _ := p.Answer(other); key != want[1] {
			t.Errorf("%s: an unknown question: %s, want %s", name, key, want[1])
		}
	}
}
