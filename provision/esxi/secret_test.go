package esxi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/provision/media"
	"margay/provision/provisiontest"
)

// A stage is a server with two hosts, and a clock.
type stage struct {
	*provision.Service
	t   *testing.T
	now time.Time
	arp net.HardwareAddr
}

func newStage(t *testing.T) *stage {
	st := &stage{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	db := nodedbtest.New(t,
		nodedbtest.Node("esx1", "all", "mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11", "nodetype.arch=x86_64"),
		nodedbtest.Node("esx2", "all", "mac.mac=00:50:56:aa:bb:dd", "hosts.ip=10.1.0.12", "nodetype.arch=x86_64"),
		nodedbtest.Network("mgt", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Password("vmware", "root", "Secret-of-root"))
	st.Service = provision.NewService(provision.Config{
		DB: db, State: t.TempDir(), Families: []provision.Family{family()}, HTTPPort: 80, Now: func() time.Time { return st.now },
		Medium:   func(path string) (provision.MediumFile, error) { return media.Open(path) },
		Local:    func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")} },
		Neighbor: func(netip.Addr) net.HardwareAddr { return st.arp },
	})
	iso := provisiontest.MakeESXi(t, provisiontest.ESXi{Version: "8.0.2", Total: 1 << 20})
	if _, err := st.Copycds(t.Context(), provision.Copy{Path: iso, InPlace: true}); err != nil {
		t.Fatal(err)
	}
	return st
}

func (st *stage) set(image string) {
	st.t.Helper()
	res, err := st.Nodeset(st.t.Context(), []string{"esx1", "esx2"}, provision.Action{Image: image})
	if err != nil || res[0].Err != nil || res[1].Err != nil {
		st.t.Fatalf("%v %v", res, err)
	}
}

func machineAt(addr string) netboot.Machine {
	return netboot.Machine{Addr: netip.MustParseAddr(addr), Local: netip.MustParseAddr("10.1.0.1"), Firmware: netboot.UEFI64}
}

// get asks as a machine does, and tells the journal as httpd does.
func (st *stage) get(m netboot.Machine, name string) (string, error) {
	name = strings.TrimPrefix(name, "http://10.1.0.1/")
	f, err := st.Open(st.t.Context(), m, name)
	if err != nil {
		e := netboot.Event{Step: netboot.StepRefused, Proto: "http", Machine: m, Name: name, Err: err}
		if no := (*netboot.Refusal)(nil); errors.As(err, &no) {
			e.Node = no.Node
		}
		st.Observe(e)
		return "", err
	}
	defer f.Body.Close()
	b, _ := io.ReadAll(f.Body)
	st.Observe(netboot.Event{Step: netboot.StepFile, Proto: "http", Machine: m, Node: f.Node, Name: f.Name, Size: f.Size, Bytes: f.Size, Done: true})
	return string(b), nil
}

func (st *stage) must(m netboot.Machine, name string) string {
	st.t.Helper()
	text, err := st.get(m, name)
	if err != nil {
		st.t.Fatalf("%s: %v", name, err)
	}
	return text
}

// refused wants an error that holds why, in the timeline and among the alarms.
func (st *stage) refused(m netboot.Machine, name, why string) {
	st.t.Helper()
	before := st.view().Alarms
	_, err := st.get(m, name)
	if err == nil || !strings.Contains(err.Error(), why) {
		st.t.Errorf("%s: %v, want %q", name, err, why)
		return
	}
	v := st.view()
	if v.Alarms != before+1 {
		st.t.Errorf("%s: %d alarms, want %d", name, v.Alarms, before+1)
	}
	last := v.Boots[len(v.Boots)-1].Last()
	if last.Name != provision.StepRefused || !strings.Contains(last.Text, why) {
		st.t.Errorf("%s: the timeline ends with %+v", name, last)
	}
}

func (st *stage) view() provision.View { return st.Views([]string{"esx1"})[0] }

func (st *stage) said(text string) bool {
	for _, b := range st.view().Boots {
		for _, s := range b.Steps {
			if strings.Contains(s.Text, text) {
				return true
			}
		}
	}
	return false
}

// kickstartOf is the address of the kickstart in a node's boot.cfg, after the
// node has begun a boot.
func (st *stage) kickstartOf(m netboot.Machine, node string) string {
	st.t.Helper()
	st.must(m, "boot/"+node+"/script")
	_, ks, ok := strings.Cut(st.must(m, "boot/"+node+"/boot.cfg"), "ks=")
	ks, _, _ = strings.Cut(ks, "\n")
	if ok {
		ks, _, _ = strings.Cut(ks, " ")
	}
	return ks
}

func (st *stage) tell(m netboot.Machine, ks, step string) {
	st.t.Helper()
	_, token, _ := strings.Cut(ks, "?t=")
	if err := st.Receive(st.t.Context(), m, "callback/"+token+"/"+step, strings.NewReader("")); err != nil {
		st.t.Fatalf("%s: %v", step, err)
	}
}

// TestKickstartWindow: a kickstart goes to its node alone, with the token of
// the boot that runs, until the installer's next word; its retries within the
// grace are normal, and all else is an alarm.
func TestKickstartWindow(t *testing.T) {
	st := newStage(t)
	st.set("esxi8.0.2-x86_64-install-base")
	m1, m2 := machineAt("10.1.0.11"), machineAt("10.1.0.12")
	ks := st.kickstartOf(m1, "esx1")
	ks2 := st.kickstartOf(m2, "esx2")

	st.refused(m1, "boot/esx1/ks.cfg", "wants the token")
	st.refused(m1, "boot/esx1/ks.cfg?t=esx1.1.0123456789abcdef0123456789abcdef", "wants the token")
	st.refused(m2, ks, "are for node esx1 at 10.1.0.11 only")
	st.refused(m1, "boot/esx1/ks.cfg?t="+ks2[strings.Index(ks2, "?t=")+3:], "wants the token")
	if _, err := st.get(m2, "boot/esx2/ks.cfg?t="+ks[strings.Index(ks, "?t=")+3:]); err == nil {
		t.Error("esx1's token opens esx2's kickstart")
	}
	st.arp = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	st.refused(m1, ks, "02:00:00:00:00:09 answers for its address")
	nodedbtest.Put(t, st.DB, nodedbtest.Site("checkneighbors", "no"))
	st.must(m1, ks)
	nodedbtest.Put(t, st.DB, nodedbtest.Site("checkneighbors", ""))
	st.arp = net.HardwareAddr{0, 0x50, 0x56, 0xaa, 0xbb, 0xcc}

	head := m1
	head.Head = true
	st.must(head, ks)
	if !st.said("asked how long its kickstart is") {
		t.Error("a HEAD is not shown")
	}
	text := st.must(m1, ks)
	if strings.Contains(text, "Secret-of-root") || !strings.Contains(text, "$6$") {
		t.Errorf("the kickstart shows a password, or no hash:\n%s", text)
	}
	st.now = st.now.Add(4 * time.Minute)
	st.must(m1, ks)
	if !st.said("has its kickstart again") {
		t.Error("a retry is not shown")
	}
	st.now = st.now.Add(2 * time.Minute)
	st.refused(m1, ks, "fetched more than 5 minutes ago")

	// the next boot has a token of its own, and ends the old one
	again := st.kickstartOf(m1, "esx1")
	if again == ks {
		t.Fatal("the token is the same in the next boot")
	}
	st.refused(m1, ks, "of boot 1, and boot 2 is running")
	st.must(m1, again)
	st.tell(m1, again, "installing")
	st.refused(m1, again, "no longer to be had: the node reported installing")
	st.tell(m1, again, "installed")
	st.refused(m1, again, "there is no ks.cfg for it") // currstate is boot
}

// TestKickstartAfterRestart: what was fetched, and when, outlives the daemon.
func TestKickstartAfterRestart(t *testing.T) {
	st := newStage(t)
	st.set("esxi8.0.2-x86_64-install-base")
	m := machineAt("10.1.0.11")
	ks := st.kickstartOf(m, "esx1")
	st.must(m, ks)
	ctx, stop := contextThatEnds(t)
	stop()
	if err := st.Run(ctx); err != nil { // writes what is unwritten
		t.Fatal(err)
	}
	st.now = st.now.Add(10 * time.Minute)
	st.Service = provision.NewService(st.Config)
	st.refused(m, ks, "fetched more than 5 minutes ago")
}

// TestTokenIsTheInterfaces: a token is worth nothing for a machine with
// another interface.
func TestTokenIsTheInterfaces(t *testing.T) {
	st := newStage(t)
	st.set("esxi8.0.2-x86_64-install-base")
	m := machineAt("10.1.0.11")
	ks := st.kickstartOf(m, "esx1")
	err := st.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "esx1"}, "mac.mac", "00:50:56:aa:bb:ee")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	st.refused(m, ks, "wants the token")
	_, token, _ := strings.Cut(ks, "?t=")
	if err := st.Receive(t.Context(), m, "callback/"+token+"/installed", strings.NewReader("")); err == nil {
		t.Error("its callback was taken")
	}
}

// TestOverlayWindow: a stateless host's overlay goes to that node in that
// boot only, until it is up.
func TestOverlayWindow(t *testing.T) {
	st := newStage(t)
	st.set("esxi8.0.2-x86_64-netboot-hypervisor")
	m := machineAt("10.1.0.11")
	st.must(m, "boot/esx1/script")
	cfg, err := ParseConfig(st.must(m, "boot/esx1/boot.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	mods := cfg.Modules()
	overlay := mods[len(mods)-1].Path
	st.refused(m, "boot/esx1/overlay.tgz", "wants the token")
	st.refused(machineAt("10.1.0.12"), overlay, "are for node esx1")
	st.must(m, overlay)
	st.tell(m, overlay, "booted")
	st.refused(m, overlay, "no longer to be had: the node reported booted")
}

// TestNothingSecretInTheOpen: what everybody may read has neither hash nor
// token, nor does what an operator is shown without asking for it.
func TestNothingSecretInTheOpen(t *testing.T) {
	st := newStage(t)
	for _, image := range []string{"esxi8.0.2-x86_64-install-base", "esxi8.0.2-x86_64-netboot-hypervisor"} {
		st.set(image)
		snap := st.DB.Snapshot()
		n, err := snap.Node("esx1")
		if err != nil {
			t.Fatal(err)
		}
		m := machineAt("10.1.0.11")
		ks := st.kickstartOf(m, "esx1")
		_, secret, _ := strings.Cut(ks, "?t=")
		for _, name := range st.Files(snap, n) {
			text, err := st.Render(snap, n, name, "uefi", false)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if s := string(text); strings.Contains(s, "Secret-of-root") || strings.Contains(s, "$6$Z") || crypted.MatchString(s) || secret != "" && strings.Contains(s, secret) {
				t.Errorf("render %s shows a secret:\n%s", name, s)
			}
		}
		if strings.Contains(image, "netboot") {
			text, err := st.Render(snap, n, "overlay.tgz", "uefi", false)
			if err != nil || !strings.Contains(string(text), "--- overlay.tgz/etc/shadow\nroot:$6$******:") {
				t.Errorf("render overlay.tgz: %v\n%s", err, text)
			}
		}
		for _, p := range st.Preview(snap, []string{"esx1"}, provision.Action{Image: "esxi8.0.2-x86_64-install-hypervisor"}) {
			if p.Err != nil || crypted.MatchString(p.Diff) {
				t.Errorf("the preview shows a hash, or fails: %v\n%s", p.Err, p.Diff)
			}
		}
		for _, b := range st.view().Boots {
			for _, s := range b.Steps {
				if secret != "" && strings.Contains(s.Text, secret) || crypted.MatchString(s.Text) {
					t.Errorf("the timeline shows a secret: %s", s.Text)
				}
			}
		}
	}
}

// crypted is a hash as crypt(3) has it, whole.
var crypted = regexp.MustCompile(`\$[156]\$[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{22,}`)

func contextThatEnds(t *testing.T) (context.Context, func()) { return context.WithCancel(t.Context()) }
