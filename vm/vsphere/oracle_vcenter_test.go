package vsphere_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/vmtest"
)

const lookAround = `
import sys, ssl
from pyVim.connect import SmartConnect
from pyVmomi import vim, vmodl
si = SmartConnect(host=sys.argv[1], port=int(sys.argv[2]), user=sys.argv[3], pwd=sys.argv[4], sslContext=ssl._create_unverified_context())
c = si.RetrieveContent()
view = c.viewManager.CreateContainerView(c.rootFolder, [vim.VirtualMachine], True)
PC = vmodl.query.PropertyCollector
spec = PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=view, skip=True, selectSet=[PC.TraversalSpec(type=vim.view.ContainerView, path='view', skip=False)])],
    propSet=[PC.PropertySpec(type=vim.VirtualMachine, pathSet=['name', 'runtime.powerState', 'runtime.host', 'config.template', 'snapshot', 'config.hardware.device'])])
for o in c.propertyCollector.RetrieveContents([spec]):
    p = {x.name: x.val for x in o.propSet}
    snaps = [s.name for s in p['snapshot'].rootSnapshotList] if 'snapshot' in p else []
    print(p['name'], p['runtime.powerState'], 'on', p['runtime.host'].name, 'template' if p['config.template'] else 'guest', ','.join(snaps))
    for d in p['config.hardware.device']:
        if isinstance(d, vim.vm.device.VirtualDisk) and d.backing.parent:
            print(p['name'], 'linked to', d.backing.parent.fileName)
        if isinstance(d, vim.vm.device.VirtualEthernetCard):
            print(p['name'], 'nic', d.macAddress)
`

// pyvmomi finds what a vCenter was told: moves, templates, links, addresses,
// and that what was removed is gone.
func TestVCenterByPyvmomi(t *testing.T) {
	const python = "/usr/bin/python3"
	need(t, exec.Command(python, "-c", "import pyVmomi"), "pyvmomi", "python3-pyvmomi")
	w, c := vcenter(t, vmtest.Options{})
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1", "vm2"), "")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	want(t, "rmigrate", migrate(t, c, vm.MigrateRequest{Target: "esx2"}, "vm1"), "vm1: migrated to esx2")
	want(t, "clonevm -t", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
	}), "vm1: Successfully copied to vmm")
	c.Allocate(t, 1, "vm3")
	want(t, "clonevm -b", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Clone(ctx, snap, c.Nodes(t, "vm3"), vm.CloneRequest{Base: "vmm"}, emit)
	}), "vm3: Successfully cloned from vmm")
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm2"), "vm2: purged")
	out, err := exec.Command(python, "-c", lookAround, w.Host(), w.Port(), w.User, w.Password).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	for _, line := range []string{
		"vm1 poweredOn on esx2 guest ", "vmm poweredOff on esx2 template xcatsnap", "vm3 poweredOff on esx2 guest ",
		"vm3 linked to [datastore1] vmm/", "vm3 nic " + c.Nodes(t, "vm3")[0].MACs[0].Addr.String(), "vm1 nic " + c.Nodes(t, "vm1")[0].MACs[0].Addr.String(),
	} {
		if !strings.Contains(text, line) {
			t.Errorf("pyvmomi does not find %q", line)
		}
	}
	if strings.Contains(text, "vm2") {
		t.Error("pyvmomi finds a guest that was removed")
	}
	if t.Failed() {
		t.Log(text)
	}
}
