package esxsh_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
)

// faces runs one script twice: with a licence that lets the API change things,
// and with one that has changes go over SSH. What the script returns must be
// the same.
func faces(t *testing.T, opts vmtest.Options, script func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string) {
	t.Helper()
	said := map[bool]string{}
	for _, free := range []bool{false, true} {
		name := map[bool]string{false: "api", true: "ssh"}[free]
		t.Run(name, func(t *testing.T) {
			w := vmtest.New(t, opts)
			c, sh := cluster(t, w, true)
			w.Restrict(free)
			said[free] = script(t, w, c)
			if used := len(sh.Log()) > 0; used != free {
				t.Errorf("SSH was used: %v", used)
			}
		})
	}
	if said[false] != said[true] {
		t.Errorf("over the API\n%s\nover SSH\n%s", said[false], said[true])
	}
}

// spec is a guest as the host has it.
func spec(t *testing.T, c *vmtest.Cluster, name string) *vm.Spec {
	t.Helper()
	e, err := vm.HostEndpoint(c.DB.Snapshot(), "esx1")
	if err != nil {
		t.Fatal(err)
	}
	hv, err := c.M.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	list, err := hv.VMs(t.Context(), vm.Query{Names: []string{name}, Detail: true})
	if err != nil || len(list) != 1 || list[0].Spec == nil {
		t.Fatalf("%s: %v, %v", name, list, err)
	}
	return list[0].Spec
}

func number(n *int64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

// What a guest claims of its host is set, kept, lifted and refused alike.
func TestFacesScheduler(t *testing.T) {
	faces(t, vmtest.Options{}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
		out := ""
		for _, step := range []struct {
			req  vm.ChangeRequest
			want string
		}{
			{vm.ChangeRequest{}, "0 -1 normal, 0 -1 normal, normal, false false"},
			{vm.ChangeRequest{Scheduler: []string{"reservation=500", "limit=1000", "shares=-3", "memreservation=256", "memlimit=1G", "memshares=-1", "latency=high"}, HotAdd: "on"}, "500 1000 high, 256 1024 low, high, true true"},
			{vm.ChangeRequest{Scheduler: []string{"limit=400"}}, "Error: a limit must not be below its reservation; -1 is no limit"},
			{vm.ChangeRequest{Scheduler: []string{"memreservation=2G"}}, "Error: a limit must not be below its reservation; -1 is no limit"},
			{vm.ChangeRequest{Scheduler: []string{"limit=-1", "memlimit=-1", "shares=2500", "memshares=normal"}}, "500 -1 2500, 256 -1 normal, high, true true"},
			{vm.ChangeRequest{Scheduler: []string{"reservation=0", "memreservation=0", "shares=-2", "memshares=high", "latency=normal"}, HotAdd: "off"}, "0 -1 normal, 0 -1 high, normal, false false"},
			{vm.ChangeRequest{Scheduler: []string{"shares=low"}, CPUs: "2"}, "0 -1 low, 0 -1 high, normal, false false"},
			{vm.ChangeRequest{Scheduler: []string{"shares=-4"}}, `Error: shares "-4": low, normal, high, or a number`},
			{vm.ChangeRequest{Scheduler: []string{"reservation=-1"}}, `Error: "-1": not a number of MHz from 0 up`},
			{vm.ChangeRequest{Scheduler: []string{"limit=-2"}}, `Error: "-2": not a number of MHz from -1 up`},
			{vm.ChangeRequest{Scheduler: []string{"latency=odd"}}, `Error: latency "odd": low, normal, medium or high`},
			{vm.ChangeRequest{Scheduler: []string{"speed=1"}}, `Error: scheduler setting "speed" is unknown`},
			{vm.ChangeRequest{HotAdd: "perhaps"}, "Error: --hotadd perhaps: on or off"},
		} {
			got := c.Change(t, step.req, "vm1")
			if got == "vm1: node successfully changed" {
				s := spec(t, c, "vm1")
				k := s.Scheduler
				got = fmt.Sprintf("%s %s %s, %s %s %s, %s, %v %v", number(k.CPUReservation), number(k.CPULimit), k.CPUShares, number(k.MemReservation), number(k.MemLimit), k.MemShares, k.Latency, s.CPUHotAdd, s.MemoryHotAdd)
			}
			contains(t, fmt.Sprintf("chvm %v --hotadd %q", step.req.Scheduler, step.req.HotAdd), got, step.want)
			out += got + "\n"
		}
		want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
		contains(t, "chvm --hotadd of a guest that runs", c.Change(t, vm.ChangeRequest{HotAdd: "on"}, "vm1"), "changing the hot-add flags needs the guest off")
		return out
	})
}

// Addresses: given, of a prefix, random; a host is told not to check those
// outside of VMware's; nobody gets one that another has.
func TestFacesMAC(t *testing.T) {
	node := func(name, mac string) nodedb.Record {
		return nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=VM Network,vlan42=vmxnet3", "mac.mac="+mac)
	}
	faces(t, vmtest.Options{}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		out := ""
		cards := func(name string) {
			s := spec(t, c, name)
			line := name
			for i, n := range s.NICs {
				check, _ := s.Setting(fmt.Sprintf("ethernet%d.checkMACAddress", i))
				line += fmt.Sprintf(" %s %s %q", n.MAC, n.MACType, check)
				if have := c.Nodes(t, name)[0].MACs; i >= len(have) || have[i].Addr.String() != n.MAC {
					t.Errorf("%s: card %d has %s, the table %v", name, i, n.MAC, have)
				}
			}
			out += line + "\n"
		}
		// given: within what VMware leaves to operators, of its hosts, of its
		// vCenters, and of nobody's
		nodedbtest.Put(t, c.DB, node("vm1", "00:50:56:3f:00:01|00:0c:29:00:00:01!*NOIP*"), node("vm2", "00:50:56:80:00:01|42:00:00:00:00:01!*NOIP*"))
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1", "vm2"), "")
		cards("vm1")
		cards("vm2")
		want(t, "the cards", out, "vm1 00:50:56:3f:00:01 manual \"\" 00:0c:29:00:00:01 manual \"false\"\nvm2 00:50:56:80:00:01 manual \"false\" 42:00:00:00:00:01 manual \"false\"\n")
		for mac, why := range map[string]string{"00:50:56:40:00:01": "outside what VMware leaves to operators", "01:50:56:00:00:01": "multicast", "00:50:56:3f:00:01": "is also that of vm1"} {
			nodedbtest.Put(t, c.DB, node("vm3", mac))
			_, err := vm.NewAllocator(c.DB.Snapshot(), rand.Reader).Guest(c.Nodes(t, "vm3")[0], 2)
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s is given: %v", mac, err)
			}
		}
		// one that a guest has which the table does not know
		nodedbtest.Put(t, c.DB, node("vm1", ""), node("vm3", "00:50:56:3f:00:01"))
		got := c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm3")
		want(t, "mkvm with a stranger's address", got, "vm3: Error: mac 00:50:56:3f:00:01 is that of guest vm1 on esx1; change one of them")
		if got := c.List(t, "esx1"); len(got) != len("esx1: vm1\nesx1: vm2") {
			t.Errorf("lsvm printed\n%s", got)
		}
		out += got + "\n"
		// of a prefix
		nodedbtest.Put(t, c.DB, node("vm1", "00:50:56:3f:00:01|00:0c:29:00:00:01!*NOIP*"), node("vm3", ""), nodedbtest.Site("genmacprefix", "00:50:56"))
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm3"), "")
		for _, n := range spec(t, c, "vm3").NICs {
			if !strings.HasPrefix(n.MAC, "00:50:56:") || n.MAC[9] > '3' {
				t.Errorf("genmacprefix made %s", n.MAC)
			}
		}
		if _, there := spec(t, c, "vm3").Setting("ethernet0.checkMACAddress"); there {
			t.Error("an address of VMware's own is not to be checked")
		}
		// random ones, on a card that is added
		nodedbtest.Put(t, c.DB, nodedbtest.Site("genmacprefix", ""))
		want(t, "chvm --addnic", c.Change(t, vm.ChangeRequest{AddNIC: []string{"VM Network"}}, "vm1", "vm2", "vm3"), "vm1: node successfully changed\nvm2: node successfully changed\nvm3: node successfully changed")
		seen := map[string]bool{}
		for _, name := range []string{"vm1", "vm2", "vm3"} {
			s := spec(t, c, name)
			if v, _ := s.Setting("ethernet2.checkMACAddress"); len(s.NICs) != 3 || v != "false" || !strings.HasPrefix(s.NICs[2].MAC, "42:") {
				t.Errorf("%s has %+v, check %q", name, s.NICs, v)
			}
			for i, n := range s.NICs {
				if have := c.Nodes(t, name)[0].MACs; seen[n.MAC] || i >= len(have) || have[i].Addr.String() != n.MAC {
					t.Errorf("%s: card %d has %s, the table %v", name, i, n.MAC, have)
				}
				seen[n.MAC] = true
			}
		}
		// and all of them let a guest start
		want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1", "vm2", "vm3"), "vm1: on\nvm2: on\nvm3: on")
		return out
	})
}

// odd is a name with all that a shell, a .vmx and XML take for their own.
const odd = `o'dd "n" $HOME ; rm -rf * & <é|日> ` + "`id`" + ` #1 100% \x`

// No name gets out of its quotes.
func TestFacesQuoting(t *testing.T) {
	store := `st'ore "2" $HOME; é #1 & (x)`
	faces(t, vmtest.Options{Datastores: []string{"datastore1", store}}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://"+store, "vm.nics=net $(id) 'q'",
			`vm.othersettings=annotation=`+strings.ReplaceAll(odd, ";", ",")))
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1"), "")
		want(t, "chvm", c.Change(t, vm.ChangeRequest{Add: []string{"8M", "8M=scsi"}, Other: []string{"my.key=" + odd}, AddNIC: []string{"v;l $x"}}, "vm1"), "vm1: node successfully changed")
		s := spec(t, c, "vm1")
		if v, _ := s.Setting("my.key"); v != odd {
			t.Errorf("my.key is %q", v)
		}
		if s.Annotation != strings.ReplaceAll(odd, ";", ",") {
			t.Errorf("the annotation is %q", s.Annotation)
		}
		out := ""
		slices.SortFunc(s.Disks, func(a, b vm.Disk) int {
			return strings.Compare(strings.TrimSuffix(a.Path.File, ".vmdk"), strings.TrimSuffix(b.Path.File, ".vmdk"))
		})
		for _, d := range s.Disks {
			out += d.Path.String() + "\n"
			if _, err := os.Stat(w.File(d.Path.String())); err != nil {
				t.Error(err)
			}
		}
		for _, n := range s.NICs {
			out += n.Network + "\n"
		}
		want(t, "what it has", out, "["+store+"] vm1/vm1.vmdk\n["+store+"] vm1/vm1_1.vmdk\n["+store+"] vm1/vm1_2.vmdk\nnet $(id) 'q'\nv;l $x\n")
		want(t, "clonevm -t", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
		}), "vm1: Successfully copied to vmm")
		want(t, "chvm -p", c.Change(t, vm.ChangeRequest{Purge: []string{"d200:1"}}, "vm1"), "vm1: node successfully changed")
		if _, err := os.Stat(w.File("[" + store + "] vm1/vm1_1.vmdk")); err == nil {
			t.Error("a purged disk is there still")
		}
		want(t, "rmvm", c.Remove(t, vm.RemoveRequest{}, "vm1"), "")
		want(t, "mkvm takes it up again", c.Make(t, vm.MakeRequest{}, "vm1"), "")
		want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
		want(t, "rmvm -p -f", c.Remove(t, vm.RemoveRequest{Purge: true, Force: true}, "vm1"), "vm1: purged")
		if _, err := os.Stat(w.File("[" + store + "] vm1/vm1.vmdk")); err == nil {
			t.Error("the guest's disk is there still")
		}
		return out
	})
}

// A dry run says what would be, and nothing changes.
func TestFacesDryRun(t *testing.T) {
	faces(t, vmtest.Options{Exports: map[string]string{"127.0.0.1:/vms": t.TempDir()}}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		nodedbtest.Put(t, c.DB, nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=nfs://127.0.0.1/vms", "vm.nics=vlan42", "vm.memory=1024", "vm.cpus=2"))
		power := func(word vm.PowerWord) string {
			return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.Power(ctx, snap, c.Nodes(t, "vm1"), vm.PowerRequest{Word: word, DryRun: true}, emit)
			})
		}
		out := ""
		say := func(what, got, wanted string) {
			t.Helper()
			want(t, what, got, wanted)
			out += got + "\n"
		}
		say("mkvm --dry-run", c.Make(t, vm.MakeRequest{Sizes: "1G", DryRun: true}, "vm2"),
			"vm2: would mount nfs://127.0.0.1/vms as nfs_127.0.0.1_vms\nvm2: would make port group vlan42 on vSwitch0, VLAN 42\nvm2: would make vm2: 2 cpus, 1024 MB, otherGuest64\nvm2: disk d200:0: 1024 MB thin on [nfs_127.0.0.1_vms]\nvm2: nic e1000 "+c.Nodes(t, "vm2")[0].MACs[0].Addr.String()+" on vlan42")
		out = ""
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
		nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=VM Network,vlan42=vmxnet3", "vm.memory=1024"))
		for word, said := range map[vm.PowerWord]string{vm.WordOn: "would change memory: 1024 MB\nvm1: on (not done)", vm.WordBoot: "would change memory: 1024 MB\nvm1: off on (not done)", vm.WordOff: "off", vm.WordReset: "off", vm.WordStat: "off"} {
			want(t, "rpower --dry-run "+string(word), power(word), "vm1: "+said)
		}
		o, _, _ := vm.ParseBootOrder("net,hd")
		setboot := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.SetBoot(ctx, snap, c.Nodes(t, "vm1"), o, true, emit)
		})
		contains(t, "rsetboot --dry-run", setboot, " -> net,hd (not done)")
		clone := func(req vm.CloneRequest) string {
			return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.Clone(ctx, snap, c.Nodes(t, "vm2"), req, emit)
			})
		}
		master := func(dry bool) string {
			return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root", DryRun: dry}, emit)
			})
		}
		say("clonevm -t --dry-run", master(true), "vm1: would copy 1 disks of 1024 MB to master vmm on [datastore1]")
		say("clonevm -b --dry-run", clone(vm.CloneRequest{Base: "vmm", DryRun: true}), "vm2: Error: Cannot find master vmm in vmmaster table")
		want(t, "lsvm", c.List(t, "esx1"), "esx1: vm1")
		want(t, "clonevm -t", master(false), "vm1: Successfully copied to vmm")
		say("clonevm -b --dry-run", clone(vm.CloneRequest{Base: "vmm", Full: true, DryRun: true}), "vm2: would clone vmm to [nfs_127.0.0.1_vms], which would be mounted, copying its disks: 1 cpus, 512 MB, 1 disks, 2 network cards")
		if got := c.List(t, "esx1"); strings.Contains(got, "vm2") || strings.Contains(c.Power(t, vm.WordStat, false, "vm1"), "on") || w.Count("CreateNasDatastore") > 0 {
			t.Errorf("a dry run did something: %s", got)
		}
		return out
	})
}

// What goes wrong on the host leaves table and host in agreement, or is said:
// each of these over the API and over SSH.
func TestFacesFaults(t *testing.T) {
	dir := t.TempDir()
	faces(t, vmtest.Options{Exports: map[string]string{"127.0.0.1:/vms": dir}}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		os.RemoveAll(dir)
		os.Mkdir(dir, 0o755)
		out := ""
		say := func(what, got, part string) {
			t.Helper()
			contains(t, what, got, part)
			out += got + "\n"
		}
		// full: at once where the disk takes its room at once
		w.Free("datastore1", 1<<30)
		say("mkvm on a full datastore", c.Make(t, vm.MakeRequest{Sizes: "4G", Format: "eagerzeroedthick"}, "vm1"), "datastore datastore1 has 1024 MB free, the disks need 4096 MB")
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1"), "")
		nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "nodetype.os=rhels8.6", "nodetype.arch=x86_64", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=VM Network,vlan42=vmxnet3", "vm.cpus=1", "vm.memory=512",
			"mac.mac="+c.Nodes(t, "vm1")[0].Attr("mac.mac"), "vpd.uuid="+c.Nodes(t, "vm1")[0].Attr("vpd.uuid")))
		say("chvm -a on a full datastore", c.Change(t, vm.ChangeRequest{Add: []string{"4G"}, Format: "eagerzeroedthick", CPUs: "4"}, "vm1"), "MB free, the disks need 4096 MB")
		agree(t, c, "vm1")
		// a port group's name is taken, on another VLAN
		say("mkvm on a name that is taken", taken(t, w, c), `port group "vlan7" is there with VLAN 9, not 7`)
		// an NFS server is away
		nfs := "nfs_127.0.0.1_vms"
		for _, name := range []string{"vm2", "vm3"} {
			nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=nfs://127.0.0.1/vms", "vm.nics=VM Network"))
		}
		want(t, "mkvm on NFS", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm2"), "")
		w.Inaccessible(nfs, true)
		say("mkvm while the server is away", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm3"), "datastore "+nfs+" (nfs://127.0.0.1/vms) is not accessible on esx1")
		say("rinv while the server is away", c.Inventory(t, false, "vm2"), "VM is in an invalid state")
		w.Inaccessible(nfs, false)
		want(t, "mkvm when it is back", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm3"), "")
		agree(t, c, "vm2")
		agree(t, c, "vm3")
		// the session ends between two commands
		w.EndSessions()
		want(t, "rpower on after the session ended", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
		// the host restarts
		w.Down()
		contains(t, "rpower stat of a host that is down", c.Power(t, vm.WordStat, false, "vm1"), "vm1: Error: ")
		if err := w.Up(); err != nil {
			t.Fatal(err)
		}
		want(t, "rpower stat when it is back", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
		want(t, "rpower on when it is back", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
		want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
		agree(t, c, "vm1")
		// a task that is cancelled leaves the guest what it was
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.M.Change(ctx, c.DB.Snapshot(), c.Nodes(t, "vm1"), vm.ChangeRequest{CPUs: "4"}, false, func(r vm.Result) {
			if r.Err == nil || len(r.Facts) > 0 {
				t.Errorf("a command that was given up says %q, %v", r.Text, r.Facts)
			}
		})
		agree(t, c, "vm1")
		return out
	})
}

// taken is mkvm of a guest on a network whose name is taken.
func taken(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
	t.Helper()
	e, err := vm.HostEndpoint(c.DB.Snapshot(), "esx1")
	if err != nil {
		t.Fatal(err)
	}
	hv, err := c.M.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if err := hv.AddPortGroup(t.Context(), "", vm.PortGroup{Name: "vlan7", Switch: "vSwitch0", VLAN: 9}); err != nil {
		t.Fatal(err)
	}
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm9", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=vlan7"))
	got := c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm9")
	if strings.Contains(c.List(t, "esx1"), "vm9") {
		t.Error("the guest was made")
	}
	return got
}

// agree holds what the table says of a guest against what the host has.
func agree(t *testing.T, c *vmtest.Cluster, name string) {
	t.Helper()
	n, s := c.Nodes(t, name)[0], spec(t, c, name)
	if n.VMCPUs != "" && n.VMCPUs != fmt.Sprint(s.CPUs) || n.VMMemory != "" && n.VMMemory != fmt.Sprint(s.MemoryMB) || !strings.EqualFold(vm.SwapUUID(n.Attr("vpd.uuid")), s.UUID) {
		t.Errorf("%s: the table has %s cpus, %s MB, %s; the host %d, %d, %s", name, n.VMCPUs, n.VMMemory, n.Attr("vpd.uuid"), s.CPUs, s.MemoryMB, s.UUID)
	}
	for i, nic := range s.NICs {
		if i >= len(n.MACs) || n.MACs[i].Addr.String() != nic.MAC {
			t.Errorf("%s: card %d is %s, the table has %v", name, i, nic.MAC, n.MACs)
		}
	}
}

// A disk that finds no room halfway through a change over SSH takes the ones
// before it along.
func TestChangeTakesBackDisks(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, true)
	made := 0
	sh.Gate = func(cmd string) (string, int, bool) {
		if strings.HasPrefix(cmd, "vmkfstools -c 16384K") {
			if made++; made == 2 {
				return "Failed to create virtual disk: No space left on device (1835017).\n", 255, true
			}
		}
		return "", 0, false
	}
	w.Restrict(true)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1"), "")
	contains(t, "chvm -a -a", c.Change(t, vm.ChangeRequest{Add: []string{"16M,16M"}, Resize: []string{"1=+8M"}}, "vm1"), "No space left")
	left, err := os.ReadDir(w.File("[datastore1] vm1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if strings.HasPrefix(f.Name(), "vm1_") {
			t.Errorf("%s is left behind", f.Name())
		}
	}
	if s := spec(t, c, "vm1"); len(s.Disks) != 1 || s.Disks[0].KB != 8<<10 {
		t.Errorf("the guest has %+v", s.Disks)
	}
	want(t, "chvm -a -a again", c.Change(t, vm.ChangeRequest{Add: []string{"16M,16M"}}, "vm1"), "vm1: node successfully changed")
}

// Ctrl-C ends a copy over SSH at once, and what it has made goes again.
func TestCancelledCopy(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, true)
	copying, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	sh.Gate = func(cmd string) (string, int, bool) {
		if !strings.HasPrefix(cmd, "vmkfstools -i") {
			return "", 0, false
		}
		close(copying)
		<-end
		return "Killed\n", 137, true
	}
	w.Restrict(true)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1"), "")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		select {
		case <-copying:
		case <-t.Context().Done():
		}
		cancel()
	}()
	var got vm.Result
	c.M.MakeMaster(ctx, c.DB.Snapshot(), c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, func(r vm.Result) { got = r })
	if got.Err == nil || len(got.Records) > 0 {
		t.Errorf("the command says %q, %v", got.Text, got.Records)
	}
	if _, err := os.Stat(w.File("[datastore1] vmm")); err == nil {
		t.Error("the copy's folder is left behind")
	}
	want(t, "lsvm", c.List(t, "esx1"), "esx1: vm1")
	agree(t, c, "vm1")
}
