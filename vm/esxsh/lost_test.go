package esxsh_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
)

// A breaker breaks the connection under a command of the shell.
type breaker struct {
	t  *testing.T
	sh *vmtest.Shell

	mu    sync.Mutex
	start string // how the command starts; guarded by mu, as what follows
	when  string
}

// When the connection breaks, and what becomes of the command.
const (
	ended  = "when the host has carried it out"
	during = "while the host carries it out"
	never  = "and takes the command with it"
)

func newBreaker(t *testing.T, sh *vmtest.Shell) *breaker {
	b := &breaker{t: t, sh: sh}
	sh.Done = func(cmd string) {
		if b.takes(cmd, ended) {
			sh.Drop()
		}
	}
	sh.Gate = func(cmd string) (string, int, bool) {
		if b.takes(cmd, during) {
			sh.Drop()
			return "", 0, false
		}
		if b.takes(cmd, never) {
			sh.Drop()
			return "", 255, true
		}
		return "", 0, false
	}
	return b
}

func (b *breaker) takes(cmd, when string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.start == "" || b.when != when || !strings.HasPrefix(cmd, b.start) {
		return false
	}
	b.start = ""
	return true
}

// set has the connection break under the next such command; the last must have
// come.
func (b *breaker) set(cmd, when string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.start != "" {
		b.t.Errorf("nothing ran %s", b.start)
	}
	b.start, b.when = cmd, when
}

// A snapshot, a mount and a copy of a disk under which the connection breaks
// are looked up: what the host has done, or still does, is done; what it has
// not done is said, leaves nothing behind and can be asked for again.
func TestConnectionEndsInLongTask(t *testing.T) {
	for name, api := range map[string]bool{"free licence": true, "ssh alone": false} {
		t.Run(name, func(t *testing.T) { endsInLongTask(t, api) })
	}
}

func endsInLongTask(t *testing.T, api bool) {
	w := vmtest.New(t, vmtest.Options{Exports: map[string]string{"127.0.0.1:/a": t.TempDir(), "127.0.0.1:/b": t.TempDir(), "127.0.0.1:/c": t.TempDir()}})
	c, sh := cluster(t, w, api)
	w.Restrict(true)
	b := newBreaker(t, sh)
	const lost = "the connection was lost while the command ran"
	snapshot := func(word vm.SnapshotWord, name string) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Snapshots(ctx, snap, c.Nodes(t, "vm1"), vm.SnapshotRequest{Word: word, SnapshotSpec: vm.SnapshotSpec{Name: name}}, emit)
		})
	}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "8M"}, "vm1"), "")
	for _, when := range []string{ended, during} {
		b.set("vim-cmd vmsvc/snapshot.create", when)
		want(t, "snapshot take, lost "+when, snapshot(vm.SnapshotTake, "one"), "vm1: snapshot one taken")
		want(t, "snapshot take", snapshot(vm.SnapshotTake, "two"), "vm1: snapshot two taken")
		b.set("vim-cmd vmsvc/snapshot.revert", when)
		want(t, "snapshot revert, lost "+when, snapshot(vm.SnapshotRevert, "one"), "vm1: reverted to one, off")
		b.set("vim-cmd vmsvc/snapshot.remove", when)
		want(t, "snapshot rm, lost "+when, snapshot(vm.SnapshotRemove, "two"), "vm1: snapshot two removed")
		b.set("vim-cmd vmsvc/snapshot.revert", when) // what it grows from: nothing shows
		contains(t, "snapshot revert to the current one, lost "+when, snapshot(vm.SnapshotRevert, "one"), lost)
		want(t, "snapshot rm", snapshot(vm.SnapshotRemove, "one"), "vm1: snapshot one removed")
	}
	b.set("vim-cmd vmsvc/snapshot.create", never)
	contains(t, "snapshot take, lost "+never, snapshot(vm.SnapshotTake, "one"), lost)
	want(t, "snapshot ls", snapshot(vm.SnapshotList, ""), "")

	for i, when := range []string{ended, during, never} {
		share := string(rune('a' + i))
		name := "g" + share
		nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=nfs://127.0.0.1/"+share))
		b.set("esxcli storage nfs add", when)
		out := c.Make(t, vm.MakeRequest{Sizes: "none"}, name)
		if when == never {
			contains(t, "mkvm, lost "+when, out, name+": Error: mounting nfs://127.0.0.1/"+share+": ssh to ")
			contains(t, "mkvm, lost "+when, out, lost)
			want(t, "lsvm", c.List(t, "esx1"), "esx1: vm1\nesx1: ga\nesx1: gb")
			out = c.Make(t, vm.MakeRequest{Sizes: "none"}, name)
		}
		want(t, "mkvm, a mount lost "+when, out, "")
	}

	master := func(name string) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: name, Who: "root"}, emit)
		})
	}
	for _, when := range []string{ended, during, never} {
		name := "m" + strings.Fields(when)[0]
		b.set("vmkfstools -i", when)
		out := master(name)
		if when == never {
			contains(t, "clonevm -t, lost "+when, out, lost)
			if _, err := os.Stat(w.File("[datastore1] " + name)); err == nil {
				t.Error("half a copy is left behind")
			}
			out = master(name)
		}
		want(t, "clonevm -t, lost "+when, out, "vm1: Successfully copied to "+name)
	}
	b.set("", "")
	log := strings.Join(sh.Log(), "\n") + "\n"
	marks := copyMark.FindAllStringSubmatch(log, -1)
	left := 0
	for _, m := range marks {
		if !strings.Contains(log, "\nrmdir "+m[1]+"\n") {
			left++
		}
	}
	if len(marks) != 4 || left != 1 { // of the command that went with its connection
		t.Errorf("%d of %d copies left their mark: %s", left, len(marks), log)
	}
	agree(t, c, "vm1")
}

var copyMark = regexp.MustCompile(`(?m)^vmkfstools -i .* && mkdir (\S+)$`)
