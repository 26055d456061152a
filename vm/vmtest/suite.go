package vmtest

import (
	"context"
	"crypto/rand"
	"sort"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/vm"
)

// A Cluster is a table and a Manager to work on it with, as the commands do:
// facts that come back are written.
type Cluster struct {
	DB *nodedb.DB
	M  *vm.Manager
}

// Definitions are records of one host, esx1, that is the World, and of guests
// vm1 to vm3 on its datastore1.
func (w *World) Definitions() []nodedb.Record {
	rec := func(kind nodedb.Kind, name string, attrs ...string) nodedb.Record {
		r := nodedb.Record{Key: nodedb.Key{Kind: kind, Name: name}, Attrs: map[string]string{}}
		for _, a := range attrs {
			k, v, _ := strings.Cut(a, "=")
			r.Attrs[k] = v
		}
		return r
	}
	out := []nodedb.Record{
		rec(nodedb.KindNode, "esx1", "nodelist.groups=hosts", "nodehm.mgt=ipmi", "nodetype.os=esxi8.0", "hypervisor.type=esx", "hypervisor.mgr="+w.URI()+w.Query),
		rec(nodedb.KindPasswd, "vmware"+nodedb.KeySep+w.User, "passwd.password="+w.Password),
	}
	for _, name := range []string{"vm1", "vm2", "vm3"} {
		out = append(out, rec(nodedb.KindNode, name, "nodelist.groups=vms", "nodehm.mgt=esx", "nodetype.os=rhels8.6", "nodetype.arch=x86_64", "nodetype.profile=compute",
			"vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=VM Network,vlan42=vmxnet3"))
	}
	return out
}

// Nodes finds nodes of the table.
func (c *Cluster) Nodes(t testing.TB, names ...string) []*nodedb.Node {
	t.Helper()
	var out []*nodedb.Node
	for _, n := range names {
		node, err := c.DB.Snapshot().Node(n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, node)
	}
	return out
}

// Collect runs something and returns what it printed, a line a result, in the
// order of nodes; errors and warnings are marked. Facts are written.
func (c *Cluster) Collect(t testing.TB, run func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit)) string {
	t.Helper()
	var results []vm.Result
	run(t.Context(), c.DB.Snapshot(), func(r vm.Result) { results = append(results, r) })
	sort.SliceStable(results, func(i, j int) bool { return results[i].Node < results[j].Node })
	var lines []string
	for _, r := range results {
		if r.Warn != "" {
			lines = append(lines, r.Node+": Warning: "+r.Warn)
		}
		if r.Err != nil {
			lines = append(lines, r.Node+": Error: "+r.Err.Error())
		} else if r.Text != "" {
			lines = append(lines, r.Node+": "+r.Text)
		}
		c.write(t, r)
	}
	return strings.Join(lines, "\n")
}

func (c *Cluster) write(t testing.TB, r vm.Result) {
	t.Helper()
	if len(r.Facts) == 0 && len(r.Records) == 0 {
		return
	}
	err := c.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		for column, value := range r.Facts {
			tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: r.Node}, column, value)
		}
		for _, rec := range r.Records {
			tx.Put(rec.Key, rec.Attrs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Allocate gives nodes what they lack before they are made.
func (c *Cluster) Allocate(t testing.TB, nics int, names ...string) {
	t.Helper()
	a := vm.NewAllocator(c.DB.Snapshot(), rand.Reader)
	for _, n := range c.Nodes(t, names...) {
		facts, err := a.Guest(n, nics)
		if err != nil {
			t.Fatal(err)
		}
		c.write(t, vm.Result{Node: n.Name, Facts: facts})
	}
}

// Make, Power and the others run one command and return what it prints.
func (c *Cluster) Make(t testing.TB, req vm.MakeRequest, names ...string) string {
	t.Helper()
	c.Allocate(t, 2, names...)
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Make(ctx, snap, c.Nodes(t, names...), req, emit)
	})
}

// Power is rpower.
func (c *Cluster) Power(t testing.TB, word vm.PowerWord, force bool, names ...string) string {
	t.Helper()
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Power(ctx, snap, c.Nodes(t, names...), vm.PowerRequest{Word: word, Force: force}, emit)
	})
}

// Change is chvm.
func (c *Cluster) Change(t testing.TB, req vm.ChangeRequest, names ...string) string {
	t.Helper()
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Change(ctx, snap, c.Nodes(t, names...), req, false, emit)
	})
}

// Inventory is rinv.
func (c *Cluster) Inventory(t testing.TB, save bool, names ...string) string {
	t.Helper()
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Inventory(ctx, snap, c.Nodes(t, names...), save, emit)
	})
}

// Remove is rmvm.
func (c *Cluster) Remove(t testing.TB, req vm.RemoveRequest, names ...string) string {
	t.Helper()
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Remove(ctx, snap, c.Nodes(t, names...), req, emit)
	})
}

// List is lsvm.
func (c *Cluster) List(t testing.TB, hosts ...string) string {
	t.Helper()
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.List(ctx, snap, c.Nodes(t, hosts...), false, emit)
	})
}

// SetBoot is rsetboot.
func (c *Cluster) SetBoot(t testing.TB, arg string, names ...string) string {
	t.Helper()
	o, _, err := vm.ParseBootOrder(arg)
	if err != nil {
		t.Fatal(err)
	}
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.SetBoot(ctx, snap, c.Nodes(t, names...), o, false, emit)
	})
}
