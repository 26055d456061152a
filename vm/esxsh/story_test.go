package esxsh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/esxsh"
	"margay/vm/vmtest"
	"margay/vm/vmx"
	"margay/vm/vsphere"
)

// cluster is a table with a World in it. With api, reads go over the API and
// changes over SSH where the licence wants it so; without, all goes over SSH.
func cluster(t testing.TB, w *vmtest.World, api bool) (*vmtest.Cluster, *vmtest.Shell) {
	t.Helper()
	sh := w.ServeSSH(t, "")
	_, port, _ := net.SplitHostPort(sh.Addr)
	w.Query = "?ssh_port=" + port
	db := nodedbtest.New(t, w.Definitions()...)
	keep := func(column string) func(context.Context, vm.Endpoint, string) error {
		return func(ctx context.Context, e vm.Endpoint, fp string) error {
			return db.Update(ctx, func(tx *nodedb.Tx) error {
				tx.Set(nodedb.Key{Kind: vm.KindTrust, Name: e.Addr()}, column, fp)
				return nil
			})
		}
	}
	over := esxsh.Dialer{Codec: vmx.Codec{}, Trust: keep(vm.TrustSSH)}.Dial
	m := &vm.Manager{API: over}
	if api {
		m = &vm.Manager{API: vsphere.Dialer{Trust: keep(vm.TrustCert)}.Dial, SSH: over}
	}
	t.Cleanup(func() { m.Close() })
	return &vmtest.Cluster{DB: db, M: m}, sh
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s printed\n%s\nwant\n%s", what, got, want)
	}
}

func contains(t *testing.T, what, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("%s printed\n%s\nwant %q in it", what, got, part)
	}
}

// The same story by both ways: the free licence with reads over the API, and
// SSH alone.
func TestStory(t *testing.T) {
	for _, api := range []bool{true, false} {
		name := "ssh alone"
		if api {
			name = "free licence"
		}
		t.Run(name, func(t *testing.T) {
			w := vmtest.New(t, vmtest.Options{Licence: "vSphere 8 Hypervisor"})
			c, sh := cluster(t, w, api)
			w.Restrict(true)
			story(t, c)
			if api && w.Count("PowerOnVM_Task")+w.Count("CreateVM_Task") > 0 {
				t.Errorf("changes were tried over the API: %v", w.Calls())
			}
			if api && slices.ContainsFunc(sh.Log(), func(l string) bool { return strings.Contains(l, "get.summary") }) {
				t.Error("reads went over SSH")
			}
		})
	}
}

func story(t *testing.T, c *vmtest.Cluster) {
	want(t, "rpower stat of what is not there", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "4G"}, "vm1"), "")
	want(t, "mkvm again", c.Make(t, vm.MakeRequest{Sizes: "4G"}, "vm1"), "vm1: Error: Virtual Machine already exists")
	want(t, "lsvm", c.List(t, "esx1"), "esx1: vm1")
	n := c.Nodes(t, "vm1")[0]
	inv := c.Inventory(t, false, "vm1")
	contains(t, "rinv", inv, "vm1: CPUs: 1\nvm1: Memory: 512 MB\nvm1: Hard disk 1 (d200:0): 4096 MB @ [datastore1] vm1/vm1.vmdk\nvm1: Network adapter 1: "+n.MACs[0].Addr.String()+"\nvm1: Network adapter 2: "+n.MACs[1].Addr.String())
	contains(t, "rinv", inv, "vm1: UUID/GUID: "+n.Attr("vpd.uuid"))
	want(t, "chvm -a", c.Change(t, vm.ChangeRequest{Add: []string{"2,1=pvscsi"}}, "vm1"), "vm1: node successfully changed")
	inv = c.Inventory(t, false, "vm1")
	contains(t, "rinv", inv, "(d200:1): 2048 MB @ [datastore1] vm1/vm1_1.vmdk")
	contains(t, "rinv", inv, "(d1000:0): 1024 MB @ [datastore1] vm1/vm1_2.vmdk")
	want(t, "chvm --resize", c.Change(t, vm.ChangeRequest{Resize: []string{"d1000:0=+1"}}, "vm1"), "vm1: node successfully changed")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "(d1000:0): 2048 MB")
	want(t, "chvm --mem --cpus", c.Change(t, vm.ChangeRequest{Memory: "1024", CPUs: "2", Other: []string{"my.key=my value"}}, "vm1"), "vm1: node successfully changed")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "vm1: CPUs: 2\nvm1: Memory: 1024 MB")
	want(t, "rsetboot", c.SetBoot(t, "net,hd", "vm1"), "vm1: net,hd")
	want(t, "rsetboot stat", c.SetBoot(t, "stat", "vm1"), "vm1: net,hd")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	want(t, "rpower on again", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: on")
	want(t, "rpower reset", c.Power(t, vm.WordReset, false, "vm1"), "vm1: reset")
	contains(t, "rpower softoff", c.Power(t, vm.WordSoftOff, false, "vm1"), "VMware Tools is not running")
	contains(t, "chvm while on", c.Change(t, vm.ChangeRequest{Other: []string{"a=b"}}, "vm1"), "only while it is off")
	contains(t, "rmvm while on", c.Remove(t, vm.RemoveRequest{}, "vm1"), "Cannot rmvm active guest (use -f argument to force)")
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	want(t, "chvm -p", c.Change(t, vm.ChangeRequest{Purge: []string{"d1000:0"}}, "vm1"), "vm1: node successfully changed")
	want(t, "rmvm", c.Remove(t, vm.RemoveRequest{}, "vm1"), "")
	want(t, "lsvm", c.List(t, "esx1"), "")
	want(t, "mkvm takes the old files", c.Make(t, vm.MakeRequest{Sizes: "8G"}, "vm1"), "")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "vm1: Hard disk 1 (d200:0): 4096 MB @ [datastore1] vm1/vm1.vmdk")
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm1"), "vm1: purged")
	want(t, "rmvm of what is not there", c.Remove(t, vm.RemoveRequest{}, "vm1"), "vm1: Error: VM does not appear to exist")
}

// A licence that changes while margay runs shows in the first refusal.
func TestLicenceChangesMidway(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, true)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	if len(sh.Log()) > 0 {
		t.Fatalf("SSH was used where the API may be: %v", sh.Log())
	}
	w.Restrict(true)
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: on")
	out := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Show(ctx, snap, c.Nodes(t, "esx1"), emit)
	})
	contains(t, "lshypervisor", out, "esx1: changes: ssh, as the host's licence forbids changes through the API")
}

func TestQuestions(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	w.Restrict(true)
	c, _ := cluster(t, w, true)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	w.Ask("vm1", vmtest.Moved())
	contains(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "it mismatched against the hypervisor")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
	w.Ask("vm1", vmtest.Moved())
	want(t, "rpower on -f", c.Power(t, vm.WordOn, true, "vm1"), "vm1: on")
}

func TestFaults(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	w.Restrict(true)
	c, sh := cluster(t, w, true)
	w.Free("datastore1", 1<<30)
	contains(t, "mkvm on a full datastore", c.Make(t, vm.MakeRequest{Sizes: "4G", Format: "eagerzeroedthick"}, "vm1"), "1024 MB free, the disks need 4096 MB")
	if _, err := os.Stat(w.File("[datastore1] vm1")); err == nil {
		t.Error("a guest that was not made leaves its folder behind")
	}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	sh.Drop()
	want(t, "rpower on after the connection broke", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	w.Restrict(true)
	sh.Drop()
}

func TestHostKey(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	sh := w.ServeSSH(t, "")
	host, port, _ := net.SplitHostPort(sh.Addr)
	e, err := vm.ParseURI("esx://root@" + host + "/?ssh_port=" + port)
	if err != nil {
		t.Fatal(err)
	}
	e.Name, e.Password = "esx1", w.Password
	var seen string
	d := esxsh.Dialer{Codec: vmx.Codec{}, Trust: func(_ context.Context, _ vm.Endpoint, fp string) error { seen = fp; return nil }}
	hv, err := d.Dial(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	hv.Close()
	if seen != sh.Fingerprint {
		t.Errorf("pinned %s, the host has %s", seen, sh.Fingerprint)
	}
	e.SSHPin = "SHA256:another"
	if _, err := d.Dial(t.Context(), e); !errors.Is(err, vm.ErrUntrusted) || !strings.Contains(err.Error(), "mkhypervisor esx1 --trust "+sh.Fingerprint) {
		t.Errorf("another key: %v", err)
	}
	e.SSHPin, d.Trust = "", nil
	if _, err := d.Dial(t.Context(), e); !errors.Is(err, vm.ErrUntrusted) {
		t.Errorf("a first key where none may be pinned: %v", err)
	}
	e.SSHPin, e.Password = sh.Fingerprint, "wrong"
	if _, err := d.Dial(t.Context(), e); err == nil || strings.Contains(err.Error(), "wrong") || !strings.Contains(err.Error(), "not accepted") {
		t.Errorf("wrong password: %v", err)
	}
}

// OpenSSH, which shares no code with us, finds the stand-in to be a host.
func TestStandInWithOpenSSH(t *testing.T) {
	bin, err := exec.LookPath("ssh")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal("ssh is not installed (package openssh-client)")
		}
		t.Skip("ssh is not installed (package openssh-client)")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	w := vmtest.New(t, vmtest.Options{})
	sh := w.ServeSSH(t, string(ssh.MarshalAuthorizedKey(pk)))
	host, port, _ := net.SplitHostPort(sh.Addr)
	run := func(stdin, cmd string) (string, error) {
		c := exec.CommandContext(t.Context(), bin, "-F", "none", "-i", key, "-p", port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile="+filepath.Join(t.TempDir(), "known"),
			"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "root@"+host, cmd)
		c.Stdin = strings.NewReader(stdin)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		err := c.Run()
		return out.String(), err
	}
	for _, step := range []struct{ stdin, cmd, want string }{
		{"", "mkdir /vmfs/volumes/datastore1/x", ""},
		{"", "vmkfstools -c 8M -d thin /vmfs/volumes/datastore1/x/x.vmdk", "Create: 100% done."},
		{"displayName = \"x\"\nguestOS = \"other-64\"\nmemSize = \"64\"\nscsi0.present = \"TRUE\"\nscsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"x.vmdk\"\n", "cat > '/vmfs/volumes/datastore1/x/x.vmx'", ""},
		{"", "vim-cmd solo/registervm /vmfs/volumes/datastore1/x/x.vmx x", ""},
		{"", "vim-cmd vmsvc/getallvms", "[datastore1] x/x.vmx"},
	} {
		out, err := run(step.stdin, step.cmd)
		if err != nil || !strings.Contains(out, step.want) {
			t.Fatalf("%s: %v\n%s", step.cmd, err, out)
		}
	}
	if out, err := run("", "vim-cmd vmsvc/power.getstate 99999"); err == nil || !strings.Contains(out, "vim.fault.NotFound") {
		t.Errorf("of no guest: %v\n%s", err, out)
	}
	if qemu, err := exec.LookPath("qemu-img"); err == nil {
		if out, err := exec.Command(qemu, "info", w.File("[datastore1] x/x.vmdk")).CombinedOutput(); err != nil || !strings.Contains(string(out), "8 MiB") {
			t.Errorf("qemu-img on a disk of the stand-in: %v\n%s", err, out)
		}
	}
}

// Snapshots and autostart over SSH alone, reads too.
func TestSnapshotsAndAutostart(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{Licence: "vSphere 8 Hypervisor"})
	c, _ := cluster(t, w, false)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1", "vm2"), "")
	snapshots := func(req vm.SnapshotRequest) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Snapshots(ctx, snap, c.Nodes(t, "vm1"), req, emit)
		})
	}
	named := func(name string) vm.SnapshotSpec { return vm.SnapshotSpec{Name: name} }
	want(t, "take", snapshots(vm.SnapshotRequest{Word: vm.SnapshotTake, SnapshotSpec: named("it's one")}), "vm1: snapshot it's one taken")
	want(t, "take", snapshots(vm.SnapshotRequest{Word: vm.SnapshotTake, SnapshotSpec: named("two")}), "vm1: snapshot two taken")
	contains(t, "ls", snapshots(vm.SnapshotRequest{Word: vm.SnapshotList}), "vm1:   two: #2")
	want(t, "revert", snapshots(vm.SnapshotRequest{Word: vm.SnapshotRevert, SnapshotSpec: named("it's one")}), "vm1: reverted to it's one, off")
	want(t, "rm --children", snapshots(vm.SnapshotRequest{Word: vm.SnapshotRemove, Children: true, SnapshotSpec: named("#1")}), "vm1: snapshot it's one removed")
	want(t, "ls", snapshots(vm.SnapshotRequest{Word: vm.SnapshotList}), "")
	autostart := func(word string) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Autostart(ctx, snap, c.Nodes(t, "vm1", "vm2"), vm.AutostartRequest{Word: word}, emit)
		})
	}
	want(t, "autostart", autostart("stat"), "vm1: off\nvm2: off")
	want(t, "autostart on", autostart("on"), "vm1: on\nvm2: on")
	want(t, "autostart", autostart("stat"), "vm1: on\nvm2: on")
	want(t, "autostart off", autostart("off"), "vm1: off\nvm2: off")
}

// The free licence lets the API give no tickets: the shell does, or it is said
// where the screen can be seen.
func TestConsoleOverSSH(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{Licence: "vSphere 8 Hypervisor"})
	c, _ := cluster(t, w, true)
	w.Restrict(true)
	console := func() string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Console(ctx, snap, c.Nodes(t, "vm1"), emit)
		})
	}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), "")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	contains(t, "wvid", console(), "vm1: console: wss://127.0.0.1:443/ticket/")
	contains(t, "wvid", console(), "vm1: thumbprint: "+w.Thumbprint)
	w.NoTickets()
	contains(t, "wvid", console(), "and SSH gives no ticket either (Invalid command 'vmsvc/acquireticket'.); the host's own client shows the screen: https://"+w.Addr+"/ui")
}

// A host whose free licence forbids changes gets the licence that prodkey has
// for it over SSH, and is changed over the API from then on.
func TestLicenceOverSSH(t *testing.T) {
	for _, api := range []bool{true, false} {
		w := vmtest.New(t, vmtest.Options{Licence: "vSphere 8 Hypervisor"})
		c, sh := cluster(t, w, api)
		w.Restrict(true)
		key := func(key string) {
			nodedbtest.Put(t, c.DB, nodedb.Record{Key: nodedb.Key{Kind: "prodkey", Name: "esx1" + nodedb.KeySep}, Attrs: map[string]string{"prodkey.key": key}})
		}
		license := func(dry bool) string {
			return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.License(ctx, snap, c.Nodes(t, "esx1"), dry, emit)
			})
		}
		key("ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ")
		want(t, "a wrong key", license(false), "esx1: Error: it does not take the licence key of prodkey: A specified parameter was not correct: licenseKey; if that is of another product or version: chdef esx1 productkey=KEY")
		key(vmtest.LicenceKey)
		want(t, "dry run", license(true), "esx1: would get the licence of its key in prodkey, in place of vSphere 8 Hypervisor")
		lost := newBreaker(t, sh)
		lost.set("vim-cmd vimsvc/license --set", ended)
		want(t, "the connection breaks", license(false), "esx1: licence: "+vmtest.LicenceName)
		lost.set("", "")
		want(t, "once more", license(false), "esx1: licence: "+vmtest.LicenceName)
		if !api {
			continue
		}
		before := len(sh.Log())
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), "")
		if w.Count("CreateVM_Task") != 1 || len(sh.Log()) != before {
			t.Errorf("it is still changed over SSH: %v", sh.Log()[before:])
		}
	}
}
