package provision

import (
	"bytes"
	"context"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// A fakeFamily renders files that say what they were rendered from.
type fakeFamily struct{}

func (fakeFamily) Name() string        { return "esxi" }
func (fakeFamily) Owns(os string) bool { return strings.HasPrefix(os, "esxi") }
func (fakeFamily) Recognize(fsys fs.FS) (*Release, error) {
	if _, err := fs.Stat(fsys, "boot.cfg"); err != nil {
		return nil, nil
	}
	return &Release{Family: "esxi", OS: "esxi8", Arch: "x86_64", Images: []ImageSpec{{nodedb.ModeInstall, "base", "ESXi"}}}, nil
}
func (fakeFamily) Files(*Boot) []string { return []string{"script", "boot.cfg", "ks.cfg"} }
func (fakeFamily) Make(b *Boot, name string) ([]byte, error) {
	if b.Profile == "broken" {
		return nil, errors.New("the template does not execute")
	}
	return fmt.Appendf(nil, "%s %s %s", name, b.Node.Name, b.SecretURL("ks.cfg")), nil
}
func (fakeFamily) Modules(*Boot) ([]Module, error) {
	return []Module{{"b.b00", 5}, {"S.V00", 6}}, nil
}
func (fakeFamily) Loader(*Boot) (string, error) { return "efi/boot/bootx64.efi", nil }

type clock struct{ now time.Time }

func (c *clock) tick(d time.Duration) { c.now = c.now.Add(d) }

func newService(t *testing.T) (*Service, *clock) {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "install", "esxi8", "x86_64")
	for name, text := range map[string]string{"b.b00": "12345", "S.V00": "123456", "EFI/BOOT/BOOTX64.EFI": "MZ"} {
		os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755)
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	db := nodedbtest.New(t,
		nodedbtest.Site("domain", "cluster.test"),
		nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.gateway=<xcatmaster>"),
		nodedbtest.Node("esx1", "all", "mac.mac=52:54:00:00:00:01", "hosts.ip=10.1.0.11", "nodetype.os=esxi8", "nodetype.arch=x86_64", "nodetype.profile=base"),
		nodedbtest.Node("esx2", "all", "mac.mac=52:54:00:00:00:02", "hosts.ip=10.1.0.12", "nodetype.os=esxi8", "nodetype.arch=x86_64", "nodetype.profile=base"),
	)
	c := &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s := NewService(Config{
		DB: db, State: dir, Families: []Family{fakeFamily{}}, HTTPPort: 80, Now: func() time.Time { return c.now },
		Local: func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")} },
	})
	return s, c
}

func mac(s string) net.HardwareAddr { m, _ := net.ParseMAC(s); return m }

var (
	server = netip.MustParseAddr("10.1.0.1")
	from1  = netboot.Machine{Addr: netip.MustParseAddr("10.1.0.11"), Local: server}
	from2  = netboot.Machine{Addr: netip.MustParseAddr("10.1.0.12"), Local: server}
)

func (s *Service) mustSet(t *testing.T, node, word string) {
	t.Helper()
	act, err := ParseAction(word)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Nodeset(t.Context(), []string{node}, act)
	if err != nil || res[0].Err != nil {
		t.Fatalf("nodeset %s %s: %v %v", node, word, err, res)
	}
}

// get opens a file as a machine would and tells the journal, as httpd does.
func (s *Service) get(m netboot.Machine, name string) (string, error) {
	f, err := s.Open(context.Background(), m, name)
	if err != nil {
		return "", err
	}
	defer f.Body.Close()
	text, _ := io.ReadAll(f.Body)
	s.Observe(netboot.Event{Step: netboot.StepFile, Proto: "http", Machine: m, Node: f.Node, Name: f.Name, Size: f.Size, Bytes: f.Size, Done: true})
	return string(text), nil
}

// token is the token in a rendered text.
func token(text string) string {
	_, tok, _ := strings.Cut(text, "?t=")
	return tok
}

func TestBootfile(t *testing.T) {
	s, _ := newService(t)
	node1 := mac("52:54:00:00:00:01")
	const script, loader = "http://10.1.0.1/boot/esx1/script", "http://10.1.0.1/boot/esx1/bootx64.efi"
	tests := []struct {
		name, set string
		m         netboot.Machine
		want      string
	}{
		{"bios", "install", netboot.Machine{PXE: true, Firmware: netboot.BIOS}, "xcat/xnba.kpxe"},
		{"uefi", "install", netboot.Machine{PXE: true, Firmware: netboot.UEFI64}, "xcat/xnba.efi"},
		{"arm64", "install", netboot.Machine{PXE: true, Firmware: netboot.UEFIARM64}, "xcat/xnba-arm64.efi"},
		{"uefi http", "install", netboot.Machine{HTTPBoot: true, Firmware: netboot.UEFI64}, loader},
		{"xnba on bios", "install", netboot.Machine{PXE: true, Loader: true, COMBOOT: true, Firmware: netboot.BIOS}, script},
		{"a card's own iPXE", "install", netboot.Machine{PXE: true, Loader: true, Firmware: netboot.BIOS}, "xcat/xnba.kpxe"},
		{"xnba on uefi", "install", netboot.Machine{PXE: true, Loader: true, Firmware: netboot.UEFI64}, script},
		{"arm64 http", "install", netboot.Machine{HTTPBoot: true, Firmware: netboot.UEFIARM64}, loader},
		{"xnba on arm64", "install", netboot.Machine{PXE: true, Loader: true, Firmware: netboot.UEFIARM64}, script},
		{"32-bit uefi", "install", netboot.Machine{PXE: true, Firmware: netboot.UEFI32}, ""},
		{"the installer itself", "install", netboot.Machine{}, ""},
		{"to its disk", "boot", netboot.Machine{PXE: true, Loader: true, Firmware: netboot.BIOS}, script},
		{"to its disk, uefi", "boot", netboot.Machine{PXE: true, Firmware: netboot.UEFI64}, "boot/esx1/exit.efi"},
		{"to its disk, xnba on uefi", "boot", netboot.Machine{PXE: true, Loader: true, Firmware: netboot.UEFI64}, script},
		{"to its disk, http", "boot", netboot.Machine{HTTPBoot: true, Firmware: netboot.UEFI64}, "http://10.1.0.1/boot/esx1/exit.efi"},
		{"offline", "offline", netboot.Machine{PXE: true, Firmware: netboot.BIOS}, ""},
	}
	for _, tt := range tests {
		s.mustSet(t, "esx1", tt.set)
		tt.m.MAC, tt.m.Local, tt.m.Ask = node1, server, netboot.AskDiscover
		p, err := s.Plan(t.Context(), tt.m)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if p.File != tt.want {
			t.Errorf("%s: file %q, want %q", tt.name, p.File, tt.want)
		}
		if p.Addr.String() != "10.1.0.11/24" || p.Router != server || p.Domain != "cluster.test" {
			t.Errorf("%s: plan %+v", tt.name, p)
		}
	}
}

func TestPlanIgnores(t *testing.T) {
	s, _ := newService(t)
	if p, err := s.Plan(t.Context(), netboot.Machine{MAC: mac("52:54:00:00:00:99"), Local: server}); !errors.Is(err, netboot.ErrIgnore) {
		t.Errorf("a stranger: plan %v, error %v; want silence", p, err)
	}
	for _, m := range []netboot.Machine{
		{MAC: mac("52:54:00:00:00:01"), Local: netip.MustParseAddr("192.0.2.1")},
		{MAC: mac("52:54:00:00:00:01"), Local: server, Relay: netip.MustParseAddr("192.0.2.1")},
	} {
		if p, err := s.Plan(t.Context(), m); !refusedFor(err, "node esx1: its address 10.1.0.11 is in network net1, but it asks from 192.0.2.1") {
			t.Errorf("%+v: plan %v, error %v; want silence, and why", m, p, err)
		}
	}
	p, err := s.Plan(t.Context(), netboot.Machine{MAC: mac("52:54:00:00:00:01"), Local: server, Ask: netboot.AskRequest, Requested: netip.MustParseAddr("10.1.0.77")})
	if err != nil || !p.Nak {
		t.Errorf("a request for another's address: %+v %v, want a NAK", p, err)
	}
}

// refusedFor says whether an error is a refusal with these words.
func refusedFor(err error, words string) bool {
	var no *netboot.Refusal
	return errors.As(err, &no) && strings.Contains(no.Reason, words)
}

// TestInstall is a node's whole way from nodeset to booted.
func TestInstall(t *testing.T) {
	s, c := newService(t)
	s.mustSet(t, "esx1", "install")
	if n, _ := s.DB.Snapshot().Node("esx1"); n.CurrState != "install esxi8-x86_64-base" || n.Attr("chain.currchain") != "boot" {
		t.Fatalf("currstate %q, currchain %q", n.CurrState, n.Attr("chain.currchain"))
	}
	for _, f := range []string{"boot/esx1/script", "boot/esx1/boot.cfg", "install/esxi8/x86_64/b.b00", "install/esxi8/x86_64/s.v00"} {
		c.tick(time.Second)
		if _, err := s.get(from1, f); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
	}
	script, _ := s.get(from1, "boot/esx1/boot.cfg")
	tok := token(script)
	if _, err := s.get(from1, "boot/esx1/ks.cfg?t="+tok); err != nil {
		t.Fatalf("ks.cfg: %v", err)
	}
	if err := CheckHostKey(t.Context(), s.DB, "esx1", "SHA256:before"); err != nil {
		t.Fatal(err)
	}
	if err := CheckHostKey(t.Context(), s.DB, "esx1", "SHA256:other"); err == nil || !strings.Contains(err.Error(), "makeknownhosts esx1") {
		t.Errorf("another host key: %v", err)
	}
	for _, step := range []struct{ name, status, state string }{
		{"installing", "installing", "install esxi8-x86_64-base"},
		{"installed", "installed", "boot"}, // its host key is another now
		{"installed", "installed", "boot"}, // said twice
		{"booted", "booted", "boot"},
		{"installing", "booted", "boot"}, // too late
	} {
		c.tick(time.Second)
		if err := s.Receive(t.Context(), from1, "callback/"+tok+"/"+step.name, strings.NewReader("")); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		n, _ := s.DB.Snapshot().Node("esx1")
		if string(n.Status) != step.status || n.CurrState != step.state {
			t.Errorf("after %s: status %q, currstate %q; want %q, %q", step.name, n.Status, n.CurrState, step.status, step.state)
		}
	}
	if fp := HostKey(s.DB.Snapshot(), "esx1"); fp != "" {
		t.Errorf("host key %s is kept though the host was installed anew", fp)
	}
	if _, err := s.get(from1, "boot/esx1/ks.cfg?t="+tok); err == nil {
		t.Error("ks.cfg is still served after the install")
	}
	boots := s.Views([]string{"esx1"})[0].Boots
	var names []string
	for _, st := range boots[len(boots)-1].Steps {
		names = append(names, string(st.Name))
	}
	want := "script bootcfg modules modules bootcfg kickstart installing installed booted"
	if got := strings.Join(names, " "); !strings.HasPrefix(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

func TestTokens(t *testing.T) {
	s, c := newService(t)
	s.mustSet(t, "esx1", "install")
	s.mustSet(t, "esx2", "install")
	s.get(from1, "boot/esx1/script")
	s.get(from2, "boot/esx2/script")
	cfg1, _ := s.get(from1, "boot/esx1/boot.cfg")
	cfg2, _ := s.get(from2, "boot/esx2/boot.cfg")
	tok1, tok2 := token(cfg1), token(cfg2)
	refused := func(what string, err error) {
		t.Helper()
		var r *netboot.Refusal
		if !errors.As(err, &r) || r.Reason == "" {
			t.Errorf("%s: %v, want a refusal with its reason", what, err)
		}
		if err != nil && (strings.Contains(err.Error(), tok1) || strings.Contains(err.Error(), tok2)) {
			t.Errorf("%s: the reason holds a token", what)
		}
	}
	_, err := s.get(from2, "boot/esx1/script")
	refused("another node's script", err)
	_, err = s.get(from1, "boot/esx1/ks.cfg")
	refused("no token", err)
	_, err = s.get(from1, "boot/esx1/ks.cfg?t="+tok2)
	refused("another node's token", err)
	refused("callback from another node", s.Receive(t.Context(), from2, "callback/"+tok1+"/installed", strings.NewReader("")))
	refused("forged", s.Receive(t.Context(), from1, "callback/esx1.1.00/installed", strings.NewReader("")))
	c.tick(time.Minute)
	s.get(from1, "boot/esx1/script") // a second boot
	_, err = s.get(from1, "boot/esx1/ks.cfg?t="+tok1)
	refused("the token of an earlier boot", err)
	refused("callback of an earlier boot", s.Receive(t.Context(), from1, "callback/"+tok1+"/installed", strings.NewReader("")))
	s.mustSet(t, "esx2", "install")
	refused("the token of an earlier nodeset", s.Receive(t.Context(), from2, "callback/"+tok2+"/installed", strings.NewReader("")))
}

// TestCrash: the count of tries is written later than the files are sent; a
// daemon that was killed in between must still know the machine.
func TestCrash(t *testing.T) {
	s, _ := newService(t)
	s.mustSet(t, "esx1", "install")
	s.get(from1, "boot/esx1/script")
	cfg, _ := s.get(from1, "boot/esx1/boot.cfg")
	again := NewService(s.Config)
	if _, err := again.get(from1, "boot/esx1/ks.cfg?t="+token(cfg)); err != nil {
		t.Errorf("ks.cfg after a crash: %v", err)
	}
	if err := again.Receive(t.Context(), from1, "callback/"+token(cfg)+"/installed", strings.NewReader("")); err != nil {
		t.Errorf("installed after a crash: %v", err)
	}
}

func TestHold(t *testing.T) {
	s, c := newService(t)
	s.mustSet(t, "esx1", "install")
	for i := range maxTries {
		c.tick(time.Minute)
		text, err := s.get(from1, "boot/esx1/script")
		if err != nil || !strings.HasPrefix(text, "script esx1") {
			t.Fatalf("try %d: %q %v", i+1, text, err)
		}
	}
	c.tick(time.Minute)
	text, err := s.get(from1, "boot/esx1/script")
	if err != nil || !strings.Contains(text, "held") || !strings.Contains(text, "3 boots") {
		t.Fatalf("fourth boot: %q %v, want a script that says it is held", text, err)
	}
	if err := s.journal.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.DB.Snapshot().Node("esx1"); n.Status != nodedb.StatusFailed {
		t.Errorf("status %q, want failed", n.Status)
	}
	if text, _ := NewService(s.Config).get(from1, "boot/esx1/script"); !strings.Contains(text, "held") {
		t.Errorf("after a restart: %q, want it held", text)
	}
	if err := s.Unhold(t.Context(), "esx1"); err != nil {
		t.Fatal(err)
	}
	if text, err := s.get(from1, "boot/esx1/script"); err != nil || !strings.HasPrefix(text, "script esx1") {
		t.Errorf("after its release: %q %v, want it to try again", text, err)
	}
	if err := s.Hold(t.Context(), "esx1", "by hand"); err != nil {
		t.Fatal(err)
	}
	if text, _ := s.get(from1, "boot/esx1/script"); !strings.Contains(text, "held: by hand") {
		t.Errorf("held by hand: %q", text)
	}
	s.mustSet(t, "esx1", "install")
	if text, err := s.get(from1, "boot/esx1/script"); err != nil || strings.Contains(text, "held") {
		t.Errorf("after nodeset: %q %v, want it to try again", text, err)
	}
}

func TestStall(t *testing.T) {
	s, c := newService(t)
	s.mustSet(t, "esx1", "install")
	for _, f := range []string{"boot/esx1/script", "boot/esx1/boot.cfg", "install/esxi8/x86_64/b.b00"} {
		s.get(from1, f)
	}
	c.tick(31 * time.Second)
	s.journal.stalls()
	boots := s.Views([]string{"esx1"})[0].Boots
	last := boots[0].Last()
	if last.Name != StepStalled || !strings.Contains(last.Text, "module 1 of 2") || !strings.Contains(last.Text, "31s") {
		t.Errorf("last step %+v, want a stall at module 1 of 2 for 31s", last)
	}
	s.journal.tracks["esx1"].current().Load.Whole = 100 << 20 // a big file is one step
	c.tick(31 * time.Second)
	if limit, _ := s.journal.tracks["esx1"].current().patience(); limit < 5*time.Minute {
		t.Errorf("100 MiB may take %v, want minutes", limit)
	}
	s.get(from1, "install/esxi8/x86_64/s.v00")
	if last := s.Views([]string{"esx1"})[0].Boots[0].Last(); last.Name != StepModules {
		t.Errorf("last step %+v, want it to go on", last)
	}
	// All is loaded: the system that was started looks for its devices.
	tl := s.journal.tracks["esx1"].current()
	c.tick(starts - time.Minute)
	s.journal.stalls()
	if last := tl.Last(); last.Name != StepModules {
		t.Errorf("last step %+v, want it to be given time to start", last)
	}
	c.tick(2 * time.Minute)
	s.journal.stalls()
	if last := tl.Last(); last.Name != StepStalled || !strings.Contains(last.Text, "all is loaded") {
		t.Errorf("last step %+v, want a stall after all was loaded", last)
	}
	tl.Steps, tl.Mode = tl.Steps[:len(tl.Steps)-1], nodedb.ModeMemtest
	if _, ok := tl.patience(); ok {
		t.Error("a memory test says nothing, and is no stall")
	}
}

func TestNodesetRefusesWhole(t *testing.T) {
	s, _ := newService(t)
	before := s.DB.Snapshot()
	for _, word := range []string{"install=broken", "install=esxi9-x86_64-base", "osimage=nosuch"} {
		act, _ := ParseAction(word)
		res, err := s.Nodeset(t.Context(), []string{"esx1"}, act)
		if err != nil || res[0].Err == nil {
			t.Errorf("nodeset %s: %v %v, want the node's error", word, err, res)
		}
	}
	n0, _ := before.Node("esx1")
	n1, _ := s.DB.Snapshot().Node("esx1")
	if n0.CurrState != n1.CurrState || n0.Profile != n1.Profile || attempt(s.DB.Snapshot(), "esx1") != nil {
		t.Errorf("the node changed: %+v", n1)
	}
	if err := s.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "esx2"}, "mac.mac", "")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	act, _ := ParseAction("install")
	res, _ := s.Nodeset(t.Context(), []string{"esx1", "esx2"}, act)
	if res[0].Err != nil || res[1].Err == nil {
		t.Errorf("one node's fault is the other's: %v", res)
	}
}

func TestProbeChangesNothing(t *testing.T) {
	s, _ := newService(t)
	s.mustSet(t, "esx1", "install")
	s.written(t) // what nodeset itself has to say
	before := s.DB.Snapshot().Rev()
	m := netboot.Machine{Addr: server, Local: server, Probe: s.ProbeWord("esx1", false)}
	for range maxTries + 2 {
		if text, err := s.get(m, "boot/esx1/script"); err != nil || strings.Contains(text, "held") {
			t.Fatalf("script: %q %v", text, err)
		}
	}
	cfg, err := s.get(m, "boot/esx1/boot.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.get(m, "boot/esx1/ks.cfg?t="+token(cfg)); err != nil {
		t.Errorf("ks.cfg: %v", err)
	}
	if err := s.Receive(t.Context(), m, "callback/"+token(cfg)+"/installed", strings.NewReader("")); err != nil {
		t.Errorf("callback: %v", err)
	}
	if err := s.journal.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.DB.Snapshot().Node("esx1"); n.Mode != nodedb.ModeInstall || n.Status != "" {
		t.Errorf("the probe changed the node: %+v", n)
	}
	if v := s.Views([]string{"esx1"})[0]; len(v.Boots) != 0 || v.Bad != 0 {
		t.Errorf("the probe is in the timeline: %+v", v)
	}
	if _, err := s.get(m, "boot/esx2/script"); err == nil {
		t.Error("a probe of esx1 has esx2's files")
	}
	if after := s.DB.Snapshot().Rev(); after != before {
		t.Errorf("the probe moved the table from revision %d to %d", before, after)
	}
}

func TestNoWayOut(t *testing.T) {
	s, _ := newService(t)
	for _, name := range []string{
		"install/esxi8/x86_64/../../../margay.db", "install/../margay.db", "install/esxi8/x86_64/", "install/esxi8/x86_64",
		"install/esxi8/x86_64/efi", "xcat/../../etc/passwd", "..", "", "boot", "boot/esx1", "boot/nosuch/script",
	} {
		if text, err := s.get(from1, name); err == nil {
			t.Errorf("%q is served: %q", name, text)
		}
	}
}

// A fakeMedium unpacks one file, or fails midway.
type fakeMedium struct {
	fs.FS
	text string
	fail error
}

func (m fakeMedium) Close() error { return nil }
func (m fakeMedium) Unpack(_ context.Context, dir string, progress func(done, total int64)) error {
	if err := os.WriteFile(filepath.Join(dir, "boot.cfg"), []byte(m.text), 0o644); err != nil {
		return err
	}
	return m.fail
}

func TestCopycdsWhole(t *testing.T) {
	s, _ := newService(t)
	src := t.TempDir()
	iso := filepath.Join(src, "boot.cfg")
	os.WriteFile(iso, []byte("x"), 0o644)
	medium := fakeMedium{FS: os.DirFS(src), text: "one"}
	s.Config.Medium = func(string) (MediumFile, error) { return medium, nil }
	s.Config.State = t.TempDir()
	dir := filepath.Join(s.State, "install", "esxi8")
	medium.fail = errors.New("broken off")
	if _, err := s.Copycds(t.Context(), Copy{Path: iso}); err == nil {
		t.Fatal("a copy that broke off was not reported")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a copy that broke off left %v", left)
	}
	medium.fail = nil
	for _, text := range []string{"one", "two"} {
		medium.text = text
		if _, err := s.Copycds(t.Context(), Copy{Path: iso}); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(filepath.Join(dir, "x86_64", "boot.cfg"))
		if string(got) != text {
			t.Errorf("tree holds %q, want %q", got, text)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("beside the tree lies %v", left)
		}
	}
	if _, err := s.DB.Snapshot().Image("esxi8-x86_64-install-base"); err != nil {
		t.Errorf("osimage: %v", err)
	}
	if _, err := s.Copycds(t.Context(), Copy{Path: iso, NoRepeat: true}); !errors.Is(err, ErrCopied) {
		t.Errorf("-w: %v, want ErrCopied", err)
	}
}

// However a machine is told to boot from its disk, its timeline says so.
func TestLocalBootStep(t *testing.T) {
	n := &nodedb.Node{Name: "esx1", Mode: nodedb.ModeBoot}
	tests := []struct {
		proto, name string
		want        StepName
	}{
		{"tftp", "exit.efi", StepLocalBoot},
		{"http", "exit.efi", StepLocalBoot},
		{"http", "script", StepLocalBoot},
		{"tftp", "xnba.efi", StepLoader},
	}
	for _, tt := range tests {
		if got, _ := fileStep(n, tt.name, netboot.Event{Proto: tt.proto}); got != tt.want {
			t.Errorf("%s by %s: step %q, want %q", tt.name, tt.proto, got, tt.want)
		}
	}
}

func TestExitEFI(t *testing.T) {
	f, err := pe.NewFile(bytes.NewReader(exitEFI()))
	if err != nil {
		t.Fatal(err)
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || h.Subsystem != pe.IMAGE_SUBSYSTEM_EFI_APPLICATION || f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		t.Errorf("header %+v", f.OptionalHeader)
	}
	code, _ := f.Sections[0].Data()
	if h.AddressOfEntryPoint != f.Sections[0].VirtualAddress || code[0] != 0x48 {
		t.Errorf("entry point %#x, section at %#x, code % x", h.AddressOfEntryPoint, f.Sections[0].VirtualAddress, code[:11])
	}
}

// TestOwnLoaderByTFTP: netboot=mboot has a UEFI machine load everything by
// TFTP from the medium's own loader.
func TestOwnLoaderByTFTP(t *testing.T) {
	s, _ := newService(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Node("esx1", "all", "mac.mac=52:54:00:00:00:01", "hosts.ip=10.1.0.11", "noderes.netboot=mboot",
		"nodetype.os=esxi8", "nodetype.arch=x86_64", "nodetype.profile=base"))
	s.mustSet(t, "esx1", "install")
	p, err := s.Plan(t.Context(), netboot.Machine{MAC: mac("52:54:00:00:00:01"), Local: server, PXE: true, Firmware: netboot.UEFI64, Ask: netboot.AskDiscover})
	if err != nil || p.File != "boot/esx1/mboot.efi" {
		t.Fatalf("%+v %v", p, err)
	}
	m := from1
	m.TFTP = true
	if text, err := s.get(m, "boot/esx1/mboot.efi"); err != nil || text != "MZ" {
		t.Errorf("mboot.efi: %q %v", text, err)
	}
	if text, err := s.get(m, "boot/esx1/01-52-54-00-00-00-01/boot.cfg"); err != nil || !strings.HasPrefix(text, "boot.cfg esx1") {
		t.Errorf("boot.cfg: %q %v", text, err)
	}
	for _, l := range s.Chain(s.DB.Snapshot(), mustNode(t, s, "esx1")) {
		if l.Firmware == "uefi" && !strings.Contains(l.Text, "Secure Boot can stay on") {
			t.Errorf("show chain: %s", l.Text)
		}
	}
}

func mustNode(t *testing.T, s *Service, name string) *nodedb.Node {
	t.Helper()
	n, err := s.DB.Snapshot().Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNote: what was done to a machine from outside opens the boot that
// follows, and a machine that never asks after it is said to stall.
func TestNote(t *testing.T) {
	s, c := newService(t)
	s.mustSet(t, "esx1", "install")
	s.Note("esx1", StepBootDevice, "Network")
	s.Note("esx1", StepPower, "boot: on")
	c.tick(11 * time.Minute)
	s.journal.stalls()
	boots := s.Views([]string{"esx1"})[0].Boots
	if len(boots) != 1 || boots[0].Last().Name != StepStalled || !strings.Contains(boots[0].Last().Text, "never asked for an address") {
		t.Fatalf("%+v", boots)
	}
	s.get(from1, "boot/esx1/script")
	s.Note("esx1", StepPower, "reset: reset")
	if boots := s.Views([]string{"esx1"})[0].Boots; len(boots) != 2 {
		t.Errorf("%d boots, want that the order opened a second", len(boots))
	}
}

func TestFlushMany(t *testing.T) {
	s, _ := newService(t)
	names := []string{"nobody"}
	for i := range 3*flushMost + 1 {
		names = append(names, fmt.Sprintf("many%d", i))
	}
	err := s.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		for _, name := range names[1:] {
			tx.Put(nodedb.Key{Kind: nodedb.KindNode, Name: name}, map[string]string{"nodelist.groups": "all"})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		s.journal.step(name, nodedb.ModeInstall, StepDHCP, "asks")
	}
	ran := 0
	s.journal.later(func(*nodedb.Tx) { ran++ })
	if err := s.journal.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := len(s.DB.Snapshot().Records(kindTimeline)), len(names)-1; got != want || ran != 1 {
		t.Errorf("%d timelines are written, want %d; what waited for the write ran %d times", got, want, ran)
	}
}
