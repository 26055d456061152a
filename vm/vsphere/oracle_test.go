package vsphere_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/vmtest"
)

// need is a program that is not ours; a test skips without it unless
// MARGAY_TEST_REAL says that it must be there.
func need(t *testing.T, probe *exec.Cmd, what, pkg string) {
	t.Helper()
	if err := probe.Run(); err == nil {
		return
	}
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		t.Fatalf("%s is not installed (package %s)", what, pkg)
	}
	t.Skipf("%s is not installed (package %s)", what, pkg)
}

const look = `
import sys, ssl
from pyVim.connect import SmartConnect
from pyVmomi import vim, vmodl
ctx = ssl._create_unverified_context()
si = SmartConnect(host=sys.argv[1], port=int(sys.argv[2]), user=sys.argv[3], pwd=sys.argv[4], sslContext=ctx)
c = si.RetrieveContent()
view = c.viewManager.CreateContainerView(c.rootFolder, [vim.VirtualMachine], True)
spec = vmodl.query.PropertyCollector.FilterSpec(
    objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=view, skip=True, selectSet=[
        vmodl.query.PropertyCollector.TraversalSpec(type=vim.view.ContainerView, path='view', skip=False)])],
    propSet=[vmodl.query.PropertyCollector.PropertySpec(type=vim.VirtualMachine, pathSet=[
        'name', 'runtime.powerState', 'config.hardware.memoryMB', 'config.hardware.numCPU', 'config.hardware.device', 'config.guestId'])])
for o in c.propertyCollector.RetrieveContents([spec]):
    p = {x.name: x.val for x in o.propSet}
    print(p['name'], p['runtime.powerState'], p['config.hardware.memoryMB'], p['config.hardware.numCPU'], p['config.guestId'])
    for d in p['config.hardware.device']:
        if isinstance(d, vim.vm.device.VirtualDisk):
            print('disk', d.controllerKey, d.unitNumber, d.capacityInKB, d.backing.fileName, d.backing.thinProvisioned)
        if isinstance(d, vim.vm.device.VirtualEthernetCard):
            print('nic', type(d).__name__, d.macAddress, d.addressType, d.backing.deviceName)
`

// pyvmomi, which shares no code with us, finds on the host what our commands
// made.
func TestStateByPyvmomi(t *testing.T) {
	const python = "/usr/bin/python3"
	need(t, exec.Command(python, "-c", "import pyVmomi"), "pyvmomi", "python3-pyvmomi")
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "4G,2G", Memory: "2G", CPUs: "2"}, "vm1"), "")
	want(t, "chvm", c.Change(t, vm.ChangeRequest{Add: []string{"1=pvscsi"}, Format: "eagerzeroedthick"}, "vm1"), "vm1: node successfully changed")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	out, err := exec.Command(python, "-c", look, w.Host(), w.Port(), w.User, w.Password).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n := c.Nodes(t, "vm1")[0]
	for _, line := range []string{
		"vm1 poweredOn 2048 2 rhel8_64Guest",
		"disk 200 0 4194304 [datastore1] vm1/vm1.vmdk True",
		"disk 200 1 2097152 [datastore1] vm1/vm1_1.vmdk True",
		"disk 1000 0 1048576 [datastore1] vm1/vm1_2.vmdk False",
		fmt.Sprintf("nic vim.vm.device.VirtualE1000 %s manual VM Network", n.MACs[0].Addr),
		fmt.Sprintf("nic vim.vm.device.VirtualVmxnet3 %s manual vlan42", n.MACs[1].Addr),
	} {
		if !strings.Contains(string(out), line+"\n") {
			t.Errorf("pyvmomi does not find %q", line)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// virsh, likewise.
func TestStateByVirsh(t *testing.T) {
	need(t, exec.Command("virsh", "--version"), "virsh", "libvirt-clients")
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "4G", Memory: "1G"}, "vm1"), "")
	virsh := virshOf(t, w)
	contains(t, "virsh domstate", virsh("domstate", "vm1"), "shut off")
	xml := virsh("dumpxml", "vm1")
	n := c.Nodes(t, "vm1")[0]
	for _, part := range []string{"<memory unit='KiB'>1048576</memory>", "[datastore1] vm1/vm1.vmdk", n.MACs[0].Addr.String(), "<source bridge='vlan42'/>", "<model type='vmxnet3'/>"} {
		contains(t, "virsh dumpxml", xml, part)
	}
	virsh("start", "vm1")
	want(t, "rpower stat after virsh start", c.Power(t, vm.WordStat, false, "vm1"), "vm1: on")
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	contains(t, "virsh domstate", virsh("domstate", "vm1"), "shut off")
}

// virshOf runs virsh against a World.
func virshOf(t *testing.T, w *vmtest.World) func(args ...string) string {
	t.Helper()
	dir := t.TempDir()
	auth := filepath.Join(dir, "auth.conf")
	text := fmt.Sprintf("[credentials-sim]\nusername=%s\npassword=%s\n[auth-esx-127.0.0.1]\ncredentials=sim\n", w.User, w.Password)
	if err := os.WriteFile(auth, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) string {
		cmd := exec.Command("virsh", append([]string{"-c", "esx://" + w.User + "@" + w.Addr + "/?no_verify=1"}, args...)...)
		cmd.Env = append(os.Environ(), "LIBVIRT_AUTH_FILE="+auth, "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("virsh %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
}

// What we say of snapshots and of guests that start with their host, virsh
// finds, and the other way round.
func TestSnapshotsByVirsh(t *testing.T) {
	need(t, exec.Command("virsh", "--version"), "virsh", "libvirt-clients")
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1", "vm2"), "")
	virsh := virshOf(t, w)
	snapshots := func(word vm.SnapshotWord, name string) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Snapshots(ctx, snap, c.Nodes(t, "vm1"), vm.SnapshotRequest{Word: word, SnapshotSpec: vm.SnapshotSpec{Name: name}}, emit)
		})
	}
	want(t, "snapshot take", snapshots(vm.SnapshotTake, "ours"), "vm1: snapshot ours taken")
	contains(t, "virsh snapshot-list", virsh("snapshot-list", "vm1"), "ours")
	virsh("snapshot-create-as", "vm1", "theirs")
	contains(t, "snapshot ls", snapshots(vm.SnapshotList, ""), "vm1:   theirs: #2")
	contains(t, "virsh snapshot-current", virsh("snapshot-current", "vm1", "--name"), "theirs")
	want(t, "snapshot revert", snapshots(vm.SnapshotRevert, "ours"), "vm1: reverted to ours, off")
	contains(t, "virsh snapshot-current", virsh("snapshot-current", "vm1", "--name"), "ours")
	want(t, "snapshot rm", snapshots(vm.SnapshotRemove, "theirs"), "vm1: snapshot theirs removed")
	virsh("snapshot-delete", "vm1", "ours")
	want(t, "snapshot ls", snapshots(vm.SnapshotList, ""), "")

	autostart := func(word string, names ...string) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Autostart(ctx, snap, c.Nodes(t, names...), vm.AutostartRequest{Word: word}, emit)
		})
	}
	want(t, "autostart on", autostart("on", "vm1"), "vm1: on")
	contains(t, "virsh dominfo", virsh("dominfo", "vm1"), "Autostart:      enable")
	virsh("autostart", "vm2")
	want(t, "autostart stat", autostart("stat", "vm1", "vm2"), "vm1: on\nvm2: on")
	virsh("autostart", "vm1", "--disable")
	want(t, "autostart stat", autostart("stat", "vm1", "vm2"), "vm1: off\nvm2: on")
	want(t, "autostart off", autostart("off", "vm2"), "vm2: off")
	contains(t, "virsh dominfo", virsh("dominfo", "vm2"), "Autostart:      disable")
}
