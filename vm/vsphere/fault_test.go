package vsphere_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

func endpoint(t *testing.T, w *vmtest.World) vm.Endpoint {
	t.Helper()
	e, err := vm.ParseURI(w.URI())
	if err != nil {
		t.Fatal(err)
	}
	e.Name, e.User, e.Password = "esx1", w.User, w.Password
	return e
}

func TestTrust(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	e := endpoint(t, w)
	seen := ""
	d := vsphere.Dialer{Trust: func(_ context.Context, _ vm.Endpoint, fp string) error { seen = fp; return nil }}
	hv, err := d.Dial(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	hv.Close()
	if seen != w.Fingerprint {
		t.Errorf("pinned %s, the host shows %s", seen, w.Fingerprint)
	}
	e.Pin = w.Fingerprint
	if hv, err = (vsphere.Dialer{}).Dial(t.Context(), e); err != nil {
		t.Fatalf("with the right pin: %v", err)
	}
	if about := hv.About(); about.Fingerprint != w.Fingerprint || about.Thumbprint != w.Thumbprint || about.Kind != vm.ESX {
		t.Errorf("about %+v", about)
	}
	hv.Close()
	w.ResetCalls()
	e.Pin = "00:11"
	_, err = d.Dial(t.Context(), e)
	if !errors.Is(err, vm.ErrUntrusted) || !strings.Contains(err.Error(), "mkhypervisor esx1 --trust "+w.Fingerprint) {
		t.Errorf("with another pin: %v", err)
	}
	e.Pin = ""
	if _, err = (vsphere.Dialer{}).Dial(t.Context(), e); !errors.Is(err, vm.ErrUntrusted) {
		t.Errorf("a first certificate where none may be pinned: %v", err)
	}
	if w.Count("Login") > 0 {
		t.Error("a password went to a host that is not trusted")
	}
	e.NoVerify = true
	if hv, err = (vsphere.Dialer{}).Dial(t.Context(), e); err != nil {
		t.Fatalf("no_verify=1: %v", err)
	}
	hv.Close()
}

func TestLogin(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	e := endpoint(t, w)
	e.NoVerify, e.Password = true, "secret-guess"
	_, err := vsphere.Dialer{}.Dial(t.Context(), e)
	if err == nil || strings.Contains(err.Error(), "secret-guess") || !strings.Contains(err.Error(), "esx1: log in as root: ") {
		t.Errorf("wrong password: %v", err)
	}
	e.Password, e.Kind = w.Password, vm.VPX
	if _, err := (vsphere.Dialer{}).Dial(t.Context(), e); err == nil || !strings.Contains(err.Error(), "not what its address says") {
		t.Errorf("a host by a vCenter's address: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	db := nodedbtest.New(t, nodedbtest.Node("esx1", "hosts", "hypervisor.mgr=esx://"+addr+"/"), nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1"), nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1"))
	c := &vmtest.Cluster{DB: db, M: &vm.Manager{API: vsphere.Dialer{}.Dial}}
	out := c.Power(t, vm.WordStat, false, "vm1", "vm2")
	contains(t, "rpower stat", out, "vm1: Error: hypervisor unreachable: Unable to reach esx1 to perform operation due to")
	contains(t, "rpower stat", out, "vm2: Error: hypervisor unreachable")
}

func TestRestrictedWithoutSSH(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	w.Restrict(true)
	c := cluster(t, w)
	contains(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "Current license or ESXi version prohibits execution of the requested operation.")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
}

func TestQuestions(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	w.Ask("vm1", vmtest.Moved())
	contains(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "Failure powering on VM, it mismatched against the hypervisor.")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
	w.Ask("vm1", vmtest.Moved())
	want(t, "rpower on -f", c.Power(t, vm.WordOn, true, "vm1"), "vm1: on")
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareanswers", "msg.uuid.altered=copied"))
	w.Ask("vm1", vmtest.Moved())
	want(t, "rpower on by a rule", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
}

// A question without an answer that gives up is not waited for, and nor is a
// task that takes for ever.
func TestDeadline(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	q := vmtest.Moved()
	q.Text = "msg.odd:What now?"
	q.Choice.ChoiceInfo = q.Choice.ChoiceInfo[1:]
	w.Ask("vm1", q)
	contains(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "Task hang due to unexpected question")
	if w.Count("CancelTask") != 1 {
		t.Error("the task was left behind")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.Refuse("AnswerVM", &types.InvalidState{}, 100)
	w.Ask("vm1", vmtest.Moved())
	go func() { // given up once it waits for the host
		for answers := w.Count("AnswerVM"); w.Count("AnswerVM") == answers && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	var got error
	c.M.Power(ctx, c.DB.Snapshot(), c.Nodes(t, "vm1"), vm.PowerRequest{Word: vm.WordOn}, func(r vm.Result) { got = r.Err })
	if got == nil {
		t.Error("a command that was given up says nothing")
	}
	if w.Count("CancelTask") != 2 {
		t.Error("a task goes on whose command was given up")
	}
}

// The session ends while a batch of tasks runs, and between two commands.
func TestSessionEnds(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1", "vm2", "vm3"), "")
	if w.EndSessions() != 1 {
		t.Fatal("no session ended")
	}
	want(t, "rpower on after the session ended", c.Power(t, vm.WordOn, false, "vm1", "vm2", "vm3"), "vm1: on\nvm2: on\nvm3: on")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1", "vm2", "vm3"), "vm1: on\nvm2: on\nvm3: on")
	q := vmtest.Moved()
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	w.Ask("vm1", q)
	w.ResetCalls()
	ended := make(chan int, 1)
	stop, over := make(chan struct{}), make(chan struct{})
	w.Before("AnswerVM", func() { <-over }) // it is not on before the session has ended
	go func() {
		defer close(over)
		for w.Count("WaitForUpdatesEx") == 0 {
			select {
			case <-stop:
				ended <- 0
				return
			default:
				runtime.Gosched()
			}
		}
		ended <- w.EndSessions()
	}()
	out := c.Power(t, vm.WordOn, true, "vm1")
	close(stop)
	if <-ended != 1 {
		t.Error("no session ended")
	}
	if out != "vm1: on" {
		t.Errorf("rpower on while the session ended: %s", out)
	}
}

func TestFaultsAreTheHostsWords(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	w.Free("datastore1", 1<<30)
	contains(t, "mkvm on a full datastore", c.Make(t, vm.MakeRequest{Sizes: "4G", Format: "eagerzeroedthick"}, "vm1"), "datastore datastore1 has 1024 MB free, the disks need 4096 MB")
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://nosuch", "vm.nics=VM Network"))
	contains(t, "mkvm on no datastore", c.Make(t, vm.MakeRequest{}, "vm2"), `has no datastore "nosuch"; mount it, or make it with formatdisk`)
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=nfs://127.0.0.9/gone", "vm.nics=VM Network"))
	contains(t, "mkvm on no export", c.Make(t, vm.MakeRequest{}, "vm2"), "Unable to connect to NFS server")
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	w.Refuse("PowerOnVM_Task", &types.InsufficientMemoryResourcesFault{}, 1)
	contains(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: Error: ")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	w.SetTools("vm1", true, "10.0.0.5")
	want(t, "rpower softoff", c.Power(t, vm.WordSoftOff, false, "vm1"), "vm1: softoff")
}

// A port group of the right name on the wrong VLAN is not taken.
func TestNetworkNameTaken(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	hv, err := c.M.Open(t.Context(), mustEndpoint(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if err := hv.AddPortGroup(t.Context(), "", vm.PortGroup{Name: "vlan42", Switch: "vSwitch0", VLAN: 7}); err != nil {
		t.Fatal(err)
	}
	contains(t, "mkvm", c.Make(t, vm.MakeRequest{}, "vm1"), `port group "vlan42" is there with VLAN 7, not 42`)
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=vm-network"), nodedbtest.Site("vmwarefixednetworks", "1"))
	contains(t, "mkvm with fixed networks", c.Make(t, vm.MakeRequest{}, "vm2"), `; it has "VM Network"`)
}

func mustEndpoint(t *testing.T, c *vmtest.Cluster) vm.Endpoint {
	t.Helper()
	e, err := vm.HostEndpoint(c.DB.Snapshot(), "esx1")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// No guest gets an address that another on the host has.
func TestMACClash(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	mac := c.Nodes(t, "vm1")[0].MACs[0].Addr.String()
	stranger := vmtest.Cluster{DB: nodedbtest.New(t, append(w.Definitions(), nodedbtest.Node("vm9", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=VM Network", "mac.mac="+mac))...), M: c.M}
	contains(t, "mkvm of a guest with that address", stranger.Make(t, vm.MakeRequest{}, "vm9"), "mac "+mac+" is that of guest vm1 on esx1")
}

// The calls are few, however many the guests.
func TestCallCounts(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	var records []nodedb.Record
	var names []string
	for i := range 500 {
		name := fmt.Sprintf("g%03d", i)
		names = append(names, name)
		records = append(records, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1"))
	}
	nodedbtest.Put(t, c.DB, records...)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, names[:3]...), "")
	w.ResetCalls()
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, names[3:13]...), "")
	if n, of := w.Count("CreatePropertyCollector"), w.Count("CreateVM_Task"); n != 2 || of != 10 { // for old files, and for new guests
		t.Errorf("making ten made %d and took %d collectors", of, n)
	}
	if n := len(w.Calls()); n > 25 || w.Count("RegisterVM_Task") > 0 {
		t.Errorf("making ten took %d calls: %v", n, w.Calls())
	}
	want(t, "rmvm", c.Remove(t, vm.RemoveRequest{}, names[3:8]...), "")
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, names[8:13]...), strings.Join(names[8:13], ": purged\n")+": purged")
	w.ResetCalls()
	want(t, "mkvm where half have old files", c.Make(t, vm.MakeRequest{Sizes: "1G"}, names[3:13]...), "")
	if old, fresh := w.Count("RegisterVM_Task"), w.Count("CreateVM_Task"); old != 5 || fresh != 5 {
		t.Errorf("of ten guests %d were registered and %d made", old, fresh)
	}
	c.Power(t, vm.WordStat, false, names...)
	w.ResetCalls()
	out := c.Power(t, vm.WordStat, false, names...)
	if strings.Count(out, "\n") != 499 {
		t.Errorf("%d lines", strings.Count(out, "\n")+1)
	}
	if calls := w.Calls(); len(calls) != 1 {
		t.Errorf("rpower stat of 500 took %d calls: %v", len(calls), calls)
	}
	w.ResetCalls()
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm2"), "")
	if n := w.Count("QueryConfigOptionEx"); n != 1 {
		t.Errorf("the host was asked %d times what it has for guests of one kind", n)
	}
	w.ResetCalls()
	want(t, "chvm", c.Change(t, vm.ChangeRequest{Add: []string{"1,1=scsi"}, CPUs: "2", Memory: "1G", Other: []string{"a=b"}, Eject: true}, "vm1"), "vm1: node successfully changed")
	if n := w.Count("ReconfigVM_Task"); n != 1 {
		t.Errorf("chvm took %d reconfigurations", n)
	}
	w.ResetCalls()
	c.Power(t, vm.WordOn, false, names[:3]...)
	if n := w.Count("CreatePropertyCollector"); n != 1 {
		t.Errorf("turning three on took %d collectors", n)
	}
}

// A purge keeps what is not the guest's alone, and refuses to pull the disk
// from under a clone.
func TestPurgeSparesOthers(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	out := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
	})
	want(t, "clonevm -t", out, "vm1: Successfully copied to vmm")
	c.Allocate(t, 2, "vm2", "vm3")
	clone := func(full bool, name string) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Clone(ctx, snap, c.Nodes(t, name), vm.CloneRequest{Base: "vmm", Full: full}, emit)
		})
	}
	want(t, "clonevm -b", clone(false, "vm2"), "vm2: Successfully cloned from vmm")
	want(t, "clonevm -b -d", clone(true, "vm3"), "vm3: Successfully cloned from vmm")
	n := c.Nodes(t, "vm2")[0]
	contains(t, "rinv of the clone", c.Inventory(t, false, "vm2"), "vm2: Network adapter 1: "+n.MACs[0].Addr.String())
	if n.VMMaster != "vmm" || n.OS != "rhels8.6" {
		t.Errorf("the table has master %q, os %q", n.VMMaster, n.OS)
	}
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vmm", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1"))
	contains(t, "rmvm -p of a master with clones", c.Remove(t, vm.RemoveRequest{Purge: true}, "vmm"), "[datastore1] vmm/vmm.vmdk is the base of vm2; purge those first")
	want(t, "rmvm -p of the linked clone", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm2"), "vm2: purged")
	want(t, "rmvm -p of the master", c.Remove(t, vm.RemoveRequest{Purge: true}, "vmm"), "vmm: purged")
	want(t, "rpower on of the full clone", c.Power(t, vm.WordOn, false, "vm3"), "vm3: on")
}

func TestFormatDisk(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	do := func(op vm.HostOp, dry bool) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Hosts(ctx, snap, c.Nodes(t, "esx1"), op, dry, emit)
		})
	}
	run := func(op vm.HostOp) string {
		t.Helper()
		done := func() (n int) {
			for _, call := range []string{"CreateVmfsDatastore", "RescanAllHba", "EnterMaintenanceMode_Task", "ShutdownHost_Task"} {
				n += w.Count(call)
			}
			return n
		}
		before := done()
		if said := do(op, true); said == "" || done() != before {
			t.Errorf("a dry run did something, and said %q", said)
		}
		return do(op, false)
	}
	contains(t, "formatdisk of a disk in use", run(vm.FormatDisk("5000", "data")), "disk naa.5000 is not there or not free")
	want(t, "formatdisk", run(vm.FormatDisk(strings.TrimPrefix(vmtest.FreeDisk, "naa."), "data")), "")
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://data"))
	want(t, "mkvm on the new datastore", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm2"), "")
	want(t, "rescansan", run(vm.Rescan()), "")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm2"), "vm2: on")
	contains(t, "chhypervisor -m with a guest that runs", run(vm.EnterMaintenance()), "esx1: Error: ")
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm2"), "vm2: off")
	want(t, "rshutdown", run(vm.ShutdownHost()), "esx1: shutdown initiated")
}
