//go:build bench

package vsphere_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

// TestBenchGuests puts lists, states, power-ons and new guests beside pyvmomi
// and govc, in turns against the same played hosts: medians of BENCH_ROUNDS
// rounds, 5 unless it says otherwise. margay and pyvmomi are connected already;
// govc is a program each time and comes with a session that it keeps.
func TestBenchGuests(t *testing.T) {
	log.SetOutput(io.Discard) // the simulator tells every file that it finds
	rounds, _ := strconv.Atoi(os.Getenv("BENCH_ROUNDS"))
	if rounds == 0 {
		rounds = 5
	}
	b := &bench{rounds: rounds, govc: os.Getenv("BENCH_GOVC")}
	if exec.Command(python, "-c", "import pyVmomi").Run() != nil {
		t.Error("pyvmomi is not installed (package python3-pyvmomi)")
	}
	for _, n := range []int{1000, 5000} {
		t.Run(fmt.Sprintf("vCenter with %d guests", n), func(t *testing.T) { b.oneVCenter(t, n) })
	}
	t.Run("50 hosts", b.manyHosts)
	t.Log("\n| what | margay | pyvmomi | govc |\n|---|---|---|---|\n" + strings.Join(b.rows, "\n"))
}

const python = "/usr/bin/python3"

type bench struct {
	rounds int
	govc   string
	rows   []string
}

// row measures one thing by each peer in turn, once to warm up.
func (b *bench) row(t *testing.T, what string, peers ...func() time.Duration) {
	t.Helper()
	took, cpu := make([][]time.Duration, len(peers)), make([][]time.Duration, len(peers))
	for round := range b.rounds + 1 {
		for i, p := range peers {
			if p == nil {
				continue
			}
			before := processor()
			if d := p(); round > 0 {
				took[i], cpu[i] = append(took[i], d), append(cpu[i], processor()-before)
			}
		}
	}
	row := "| " + what
	for i := range peers {
		if peers[i] == nil {
			row += " | not run"
			continue
		}
		slices.Sort(took[i])
		row += fmt.Sprintf(" | %.3f s", took[i][len(took[i])/2].Seconds())
	}
	b.rows = append(b.rows, row+" |")
	row += " | processor, with the hosts' share and what is put back after each:"
	for i := range peers {
		if peers[i] != nil {
			slices.Sort(cpu[i])
			row += fmt.Sprintf(" %.3f s", cpu[i][len(cpu[i])/2].Seconds())
		}
	}
	t.Log(row)
}

// processor is what this process and those that it ran took of it so far.
func processor() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

func timed(do func()) func() time.Duration {
	return func() time.Duration {
		began := time.Now()
		do()
		return time.Since(began)
	}
}

// python runs a script against endpoints; the script prints how long what it
// does took, without its own start and its connections.
func (b *bench) python(t *testing.T, script, mode string, worlds ...*vmtest.World) func() time.Duration {
	args := []string{"-c", script, mode}
	for _, w := range worlds {
		args = append(args, w.Host()+":"+w.Port()+":"+w.User+":"+w.Password)
	}
	return func() time.Duration {
		out, err := exec.Command(python, args...).CombinedOutput()
		s, perr := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil || perr != nil {
			t.Fatalf("pyvmomi: %v\n%s", err, out)
		}
		return time.Duration(s * float64(time.Second))
	}
}

// govcRun runs govc against one endpoint; nil without govc.
func (b *bench) govcRun(t *testing.T, w *vmtest.World, args ...string) error {
	cmd := exec.Command(b.govc, args...)
	cmd.Env = append(os.Environ(), "GOVC_URL=https://"+w.Addr+"/sdk", "GOVC_USERNAME="+w.User, "GOVC_PASSWORD="+w.Password, "GOVC_INSECURE=1", "GOVMOMI_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("govc %v: %v\n%.500s", args, err, out)
	}
	return nil
}

const readScript = `
import sys, ssl, time
from pyVim.connect import SmartConnect
from pyVmomi import vim, vmodl
host, port, user, pwd = sys.argv[2].split(':')
si = SmartConnect(host=host, port=int(port), user=user, pwd=pwd, sslContext=ssl._create_unverified_context())
c = si.RetrieveContent()
view = c.viewManager.CreateContainerView(c.rootFolder, [vim.VirtualMachine], True)
props = ['name', 'runtime.powerState'] if sys.argv[1] == 'stat' else ['name', 'runtime.host']
PC = vmodl.query.PropertyCollector
spec = PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=view, skip=True, selectSet=[PC.TraversalSpec(type=vim.view.ContainerView, path='view', skip=False)])],
                     propSet=[PC.PropertySpec(type=vim.VirtualMachine, pathSet=props)])
began = time.time()
n = len(c.propertyCollector.RetrieveContents([spec]))
print(time.time() - began)
`

func (b *bench) oneVCenter(t *testing.T, n int) {
	w := vmtest.New(t, vmtest.Options{VCenter: true, User: "Administrator", Raw: true})
	mgr := "hypervisor.mgr=" + w.URI()
	records := []nodedb.Record{nodedbtest.Node("esx1", "hosts", "nodetype.os=esxi8.0", mgr), nodedbtest.Node("esx2", "hosts", "nodetype.os=esxi8.0", mgr), nodedbtest.Password("vcenter", w.User, w.Password)}
	var names []string
	for i := range n {
		name := fmt.Sprintf("g%04d", i)
		names = append(names, name)
		records = append(records, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", fmt.Sprintf("vm.host=esx%d", i%2+1), "vm.storage=vmfs://datastore1"))
	}
	c := benchCluster(t, records)
	if err := w.Fill(names); err != nil {
		t.Fatal(err)
	}
	var govcList, govcStat func() time.Duration
	if b.govc != "" {
		govcList = timed(func() {
			if err := b.govcRun(t, w, "find", "/", "-type", "m"); err != nil {
				t.Fatal(err)
			}
		})
		govcStat = timed(func() {
			if err := b.govcRun(t, w, "find", "/", "-type", "m", "-runtime.powerState", "poweredOff"); err != nil {
				t.Fatal(err)
			}
		})
	}
	b.row(t, fmt.Sprintf("lsvm, %d guests of a vCenter", n), timed(func() { c.List(t, "esx1", "esx2") }), b.python(t, readScript, "list", w), govcList)
	b.row(t, fmt.Sprintf("rpower stat of all %d", n), timed(func() { c.Power(t, vm.WordStat, false, names...) }), b.python(t, readScript, "stat", w), govcStat)
}

func benchCluster(t *testing.T, records []nodedb.Record) *vmtest.Cluster {
	db := nodedbtest.New(t, records...)
	m := &vm.Manager{API: vsphere.Dialer{Trust: trust(db)}.Dial}
	t.Cleanup(func() { m.Close() })
	return &vmtest.Cluster{DB: db, M: m}
}

// taskTime is how long a host takes over a task.
const taskTime = 300 * time.Millisecond

const powerScript = `
import sys, ssl, time, threading
from pyVim.connect import SmartConnect
from pyVim.task import WaitForTasks
from pyVmomi import vim
conns = []
for a in sys.argv[2:]:
    host, port, user, pwd = a.split(':')
    si = SmartConnect(host=host, port=int(port), user=user, pwd=pwd, sslContext=ssl._create_unverified_context())
    c = si.RetrieveContent()
    view = c.viewManager.CreateContainerView(c.rootFolder, [vim.VirtualMachine], True)
    conns.append((si, list(view.view)))
def work(si, vms):
    tasks = [v.PowerOnVM_Task() if sys.argv[1] == 'on' else v.PowerOffVM_Task() for v in vms]
    WaitForTasks(tasks, si=si)
began = time.time()
threads = [threading.Thread(target=work, args=x) for x in conns]
for t in threads: t.start()
for t in threads: t.join()
print(time.time() - began)
`

const makeScript = `
import sys, ssl, time, threading
from pyVim.connect import SmartConnect
from pyVim.task import WaitForTasks
from pyVmomi import vim
conns = []
for a in sys.argv[2:]:
    host, port, user, pwd = a.split(':')
    si = SmartConnect(host=host, port=int(port), user=user, pwd=pwd, sslContext=ssl._create_unverified_context())
    dc = si.RetrieveContent().rootFolder.childEntity[0]
    conns.append((si, dc.vmFolder, dc.hostFolder.childEntity[0].resourcePool))
def work(i, si, folder, pool):
    tasks = []
    for g in range(int(sys.argv[1])):
        name = 'p%03d-%04d' % (i, g)
        spec = vim.vm.ConfigSpec(name=name, memoryMB=512, numCPUs=1, guestId='otherGuest', files=vim.vm.FileInfo(vmPathName='[datastore1]'))
        tasks.append(folder.CreateVM_Task(config=spec, pool=pool))
    WaitForTasks(tasks, si=si)
    return [t.info.result for t in tasks]
began = time.time()
threads = [threading.Thread(target=work, args=(i,) + x) for i, x in enumerate(conns)]
for t in threads: t.start()
for t in threads: t.join()
print(time.time() - began)
`

func (b *bench) manyHosts(t *testing.T) {
	const hosts, each = 50, 10
	worlds, c, names := b.hosts(t, hosts, each)
	if out := c.Make(t, vm.MakeRequest{Sizes: "none"}, names...); out != "" {
		t.Fatalf("mkvm: %.500s", out)
	}
	off := func() { c.Power(t, vm.WordOff, false, names...) }
	off()
	vmtest.SlowTasks(taskTime, "powerOn")
	t.Cleanup(func() { vmtest.SlowTasks(0) })
	each50 := func(do func(i int, w *vmtest.World) error) {
		var wg sync.WaitGroup
		for i, w := range worlds {
			wg.Go(func() {
				if err := do(i, w); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	then := func(d func() time.Duration) func() time.Duration {
		return func() time.Duration { defer off(); return d() }
	}
	var govcOn, govcMake func() time.Duration
	if b.govc != "" {
		govcOn = then(timed(func() {
			each50(func(i int, w *vmtest.World) error {
				args := []string{"vm.power", "-on"}
				return b.govcRun(t, w, append(args, names[i*each:(i+1)*each]...)...)
			})
		}))
	}
	b.row(t, fmt.Sprintf("rpower on, 500 guests of 50 hosts, each task %s", taskTime),
		then(timed(func() {
			if out := c.Power(t, vm.WordOn, false, names...); strings.Count(out, ": on") != len(names) {
				t.Errorf("rpower on: %.500s", out)
			}
		})), then(b.python(t, powerScript, "on", worlds...)), govcOn)
	vmtest.SlowTasks(0)

	worlds, c, names = b.hosts(t, 20, 10)
	empty := func(d func() time.Duration) func() time.Duration {
		return func() time.Duration {
			took := d()
			for _, w := range worlds {
				w.Empty()
			}
			return took
		}
	}
	if b.govc != "" {
		govcMake = empty(timed(func() {
			each50(func(i int, w *vmtest.World) error {
				for g := range 10 {
					err := b.govcRun(t, w, "vm.create", "-on=false", "-m", "512", "-c", "1", "-g", "otherGuest", "-ds", "datastore1", "-net", "VM Network", fmt.Sprintf("q%03d-%04d", i, g))
					if err != nil {
						return err
					}
				}
				return nil
			})
		}))
	}
	b.row(t, "mkvm, 200 guests on 20 hosts",
		empty(timed(func() {
			if out := c.Make(t, vm.MakeRequest{Sizes: "none"}, names...); out != "" {
				t.Errorf("mkvm: %.500s", out)
			}
		})), empty(b.python(t, makeScript, "10", worlds...)), govcMake)
}

func (b *bench) hosts(t *testing.T, hosts, each int) ([]*vmtest.World, *vmtest.Cluster, []string) {
	worlds := make([]*vmtest.World, hosts)
	var wg sync.WaitGroup
	for h := range hosts {
		wg.Go(func() { worlds[h] = vmtest.New(t, vmtest.Options{Raw: true}) })
	}
	wg.Wait()
	records := []nodedb.Record{nodedbtest.Password("vmware", "root", "vmware")}
	var names []string
	for h, w := range worlds {
		host := fmt.Sprintf("esx%03d", h)
		records = append(records, nodedbtest.Node(host, "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+w.URI()))
		for g := range each {
			name := fmt.Sprintf("g%03d-%04d", h, g)
			names = append(names, name)
			records = append(records, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host="+host, "vm.storage=vmfs://datastore1"))
		}
	}
	return worlds, benchCluster(t, records), names
}
