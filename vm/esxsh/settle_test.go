package esxsh_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
)

// The connection breaks when the host has carried a command out and before it
// has said so. What is done is found to be done; where that does not show, it
// is taken back, or said. Table and host agree in each case.
func TestConnectionEndsMidTask(t *testing.T) {
	for name, api := range map[string]bool{"free licence": true, "ssh alone": false} {
		t.Run(name, func(t *testing.T) { endsMidTask(t, api) })
	}
}

func endsMidTask(t *testing.T, api bool) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, api)
	w.Restrict(true)
	var mu sync.Mutex
	start, times := "", 0
	sh.Done = func(cmd string) {
		mu.Lock()
		defer mu.Unlock()
		if start == "" || !strings.HasPrefix(cmd, start) {
			return
		}
		if times--; times == 0 {
			start = ""
			sh.Drop()
		}
	}
	after := func(cmd string, nth int) { // the nth command of its kind
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if start != "" {
			t.Errorf("nothing ran %s", start)
		}
		start, times = cmd, nth
	}
	guest := func(name string, attrs ...string) {
		nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "vms", append(attrs, "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1")...))
	}
	const lost = "the connection was lost while the command ran"

	guest("vm1", "vm.nics=vlan42")
	after("esxcli network vswitch standard portgroup add", 1)
	want(t, "mkvm, a port group made", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1"), "")
	guest("vm2", "vm.nics=vlan7")
	after("esxcli network vswitch standard portgroup set", 1)
	want(t, "mkvm, a VLAN set", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm2"), "")
	guest("vm3")
	after("vim-cmd solo/registervm", 2) // the first looks for old files
	want(t, "mkvm, a guest registered", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm3"), "")
	guest("vm4")
	after("vmkfstools -c", 1)
	contains(t, "mkvm, a disk made", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm4"), lost+"; disk [datastore1] vm4/vm4.vmdk may have been made")
	if _, err := os.Stat(w.File("[datastore1] vm4")); err == nil {
		t.Error("half a guest is left behind")
	}
	want(t, "mkvm again", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm4"), "")
	want(t, "lsvm", c.List(t, "esx1"), "esx1: vm1\nesx1: vm2\nesx1: vm3\nesx1: vm4")

	after("vim-cmd vmsvc/power.on", 1)
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	after("vim-cmd vmsvc/power.reset", 1)
	contains(t, "rpower reset", c.Power(t, vm.WordReset, false, "vm1"), "vm1: Error: ")
	after("vim-cmd vmsvc/power.off", 1)
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")

	for _, cmd := range []string{"mv ", "vim-cmd vmsvc/reload"} {
		after(cmd, 1)
		contains(t, "chvm, "+cmd, c.Change(t, vm.ChangeRequest{CPUs: "2"}, "vm1"), lost)
		if s := spec(t, c, "vm1"); s.CPUs != 1 {
			t.Errorf("after %s the host gives it %d cpus", cmd, s.CPUs)
		}
		if text, err := os.ReadFile(w.File("[datastore1] vm1/vm1.vmx")); err != nil || strings.Contains(string(text), `numvcpus = "2"`) {
			t.Errorf("after %s its file has the change: %v", cmd, err)
		}
	}
	want(t, "chvm again", c.Change(t, vm.ChangeRequest{CPUs: "2"}, "vm1"), "vm1: node successfully changed")
	agree(t, c, "vm1")
	after("vmkfstools -c", 2) // the first name is that of the disk that it has
	contains(t, "chvm -a", c.Change(t, vm.ChangeRequest{Add: []string{"16M"}}, "vm1"), "disk [datastore1] vm1/vm1_1.vmdk may have been made")
	if s := spec(t, c, "vm1"); len(s.Disks) != 1 {
		t.Errorf("the guest has %d disks", len(s.Disks))
	}
	want(t, "chvm -a again", c.Change(t, vm.ChangeRequest{Add: []string{"16M"}}, "vm1"), "vm1: node successfully changed")

	after("vim-cmd vmsvc/unregister", 1)
	want(t, "rmvm", c.Remove(t, vm.RemoveRequest{}, "vm3"), "")
	after("vim-cmd vmsvc/destroy", 1)
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm4"), "vm4: purged")
	after("", 0)
	want(t, "lsvm", c.List(t, "esx1"), "esx1: vm1\nesx1: vm2")
	for _, name := range []string{"vm1", "vm2"} {
		agree(t, c, name)
	}
}

// An answer that the host's agent does not let in is given again.
func TestAnswerNotLetIn(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, false)
	var answers atomic.Int32
	sh.Gate = func(cmd string) (string, int, bool) {
		if strings.HasPrefix(cmd, "'vim-cmd' 'vmsvc/message'") || strings.HasPrefix(cmd, "vim-cmd vmsvc/message") && len(strings.Fields(cmd)) > 3 {
			return "Failed to login: Connection refused\n", 1, answers.Add(1) == 1
		}
		return "", 0, false
	}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1"), "")
	w.Ask("vm1", vmtest.Moved())
	want(t, "rpower on -f", c.Power(t, vm.WordOn, true, "vm1"), "vm1: on")
	if answers.Load() != 2 {
		t.Errorf("%d answers were given", answers.Load())
	}
}

// Two guests of one name are told apart by UUID; a command on either is refused
// where that is not known.
func TestDuplicateNamesOverSSH(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, false)
	var twice atomic.Pointer[string]
	sh.Gate = func(cmd string) (string, int, bool) {
		if text := twice.Load(); text != nil && cmd == "vim-cmd vmsvc/getallvms" {
			return *text, 0, true
		}
		return "", 0, false
	}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1", "vm2"), "")
	hv := hypervisor(t, c).(vm.Hypervisor)
	vms, err := hv.VMs(t.Context(), vm.Query{})
	if err != nil || len(vms) != 2 {
		t.Fatalf("%v, %v", vms, err)
	}
	text := fmt.Sprintf("%-6s %-6s %-40s %-16s %-8s %s\n", "Vmid", "Name", "File", "Guest OS", "Version", "Annotation")
	for _, v := range vms {
		text += fmt.Sprintf("%-6s %-6s %-40s %-16s %-8s %s\n", v.ID, "vm1", v.Path, v.GuestID, "vmx-13", "")
	}
	twice.Store(&text)
	want(t, "rpower on of the one that the table means", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	for _, v := range vms {
		out, err := hv.VMs(t.Context(), vm.Query{Names: []string{"vm1"}})
		if err != nil || len(out) != 2 {
			t.Fatalf("%v, %v", out, err)
		}
		for _, o := range out {
			if on := o.State == nodedb.PowerOn; o.ID == v.ID && on != (v.Name == "vm1") {
				t.Errorf("guest %s, made as %s, is %s", v.ID, v.Name, o.State)
			}
		}
	}
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1"))
	before := len(sh.Log())
	for _, out := range []string{c.Power(t, vm.WordOn, false, "vm1"), c.Change(t, vm.ChangeRequest{CPUs: "2"}, "vm1"), c.Remove(t, vm.RemoveRequest{Purge: true}, "vm1")} {
		contains(t, "a command on either", out, "2 guests are called vm1; set vpd.uuid to the one that is meant")
	}
	for _, cmd := range sh.Log()[before:] {
		for _, part := range []string{"power.on", "reload", "destroy", "unregister"} {
			if strings.Contains(cmd, part) {
				t.Errorf("%s was run all the same", cmd)
			}
		}
	}
}
