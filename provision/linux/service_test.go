package linux

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/provision/media"
	"margay/provision/provisiontest"
)

// A site is a service with one node, and that node.
type site struct {
	*provision.Service
	db    *nodedb.DB
	state string
	node  netboot.Machine
}

func newSite(t *testing.T) *site {
	t.Helper()
	db := nodedbtest.New(t,
		nodedbtest.Node("vm1", "all", "mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11"),
		nodedbtest.Network("lan", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Password("system", "root", hashed))
	state := t.TempDir()
	s := provision.NewService(provision.Config{
		DB: db, State: state, Families: []provision.Family{family(), NewWork(family().templates)}, HTTPPort: 80,
		Loaders: fstest.MapFS{"xnba.efi": {Data: []byte("iPXE")}},
		Medium:  func(path string) (provision.MediumFile, error) { return media.Open(path) },
		Local:   func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")} },
	})
	return &site{s, db, state, netboot.Machine{Addr: netip.MustParseAddr("10.1.0.11"), Local: netip.MustParseAddr("10.1.0.1"), Firmware: netboot.UEFI64}}
}

func (s *site) copycds(t *testing.T, os string) string {
	t.Helper()
	iso := provisiontest.MakeLinux(t, provisiontest.Linux{OS: os})
	if _, err := s.Copycds(context.Background(), provision.Copy{Path: iso}); err != nil {
		t.Fatal(err)
	}
	return iso
}

func (s *site) nodeset(t *testing.T, image string) error {
	t.Helper()
	res, err := s.Nodeset(context.Background(), []string{"vm1"}, provision.Action{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	return res[0].Err
}

func (s *site) open(url string) (string, error) {
	f, err := s.Open(context.Background(), s.node, strings.TrimPrefix(url, "http://10.1.0.1/"))
	if err != nil {
		return "", err
	}
	defer f.Body.Close()
	b, err := io.ReadAll(f.Body)
	return string(b), err
}

func (s *site) get(t *testing.T, url string) string {
	t.Helper()
	text, err := s.open(url)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return text
}

// argument is the value of a kernel argument in the node's script.
func (s *site) argument(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(` ` + regexp.QuoteMeta(name) + `(\S+)`).FindStringSubmatch(s.get(t, "boot/vm1/script"))
	if m == nil {
		t.Fatalf("no %s in the script", name)
	}
	return m[1]
}

// TestThroughTheService follows each installer's addresses to its answers.
func TestThroughTheService(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct{ os, argument, behind, want string }{
		{"rhels9.4", "inst.ks=", "", "rootpw --iscrypted"},
		{"rhels6.10", "ks=", "", "rootpw --iscrypted"},
		{"sles15.5", "autoyast=", "", "<user_password>"},
		{"sles16.0", "inst.auto=", "", "<user_password>"},
		{"debian11", "url=", "", "passwd/root-password-crypted"},
		{"ubuntu24.04", "ds=nocloud-net;s=", "user-data", "usermod -p"},
		{"ubuntu24.04", "ds=nocloud-net;s=", "meta-data", "local-hostname: vm1"},
	} {
		s.copycds(t, tt.os)
		if err := s.nodeset(t, tt.os+"-x86_64-install-compute"); err != nil {
			t.Fatalf("%s: %v", tt.os, err)
		}
		if kernel := regexp.MustCompile(`(?m)^kernel (\S+)`).FindStringSubmatch(s.get(t, "boot/vm1/script")); s.get(t, kernel[1]) != "kernel of "+tt.os+"\n" {
			t.Errorf("%s: another kernel", tt.os)
		}
		url := s.argument(t, tt.argument) + tt.behind
		if text := s.get(t, url); !strings.Contains(text, tt.want) {
			t.Errorf("%s: no %s in\n%s", url, tt.want, text)
		}
		for _, bad := range []string{strings.Replace(url, "vm1.", "vm2.", 1), regexp.MustCompile(`\?.*|/t/[^/]*`).ReplaceAllString(url, "")} {
			var refusal *netboot.Refusal
			if _, err := s.open(bad); !errors.As(err, &refusal) {
				t.Errorf("%s: got %v, want it refused", bad, err)
			}
		}
	}
}

// TestWholeMedium: Ubuntu's installer loads the medium, as long as it is there.
func TestWholeMedium(t *testing.T) {
	s := newSite(t)
	iso := s.copycds(t, "ubuntu24.04")
	if err := s.nodeset(t, "ubuntu24.04-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.get(t, s.argument(t, "url=")); got != string(want) {
		t.Errorf("got %d bytes, want the medium's %d", len(got), len(want))
	}
	if err := os.Truncate(iso, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := s.open("install/ubuntu24.04/x86_64/medium.iso"); !errors.Is(err, netboot.ErrNotFound) {
		t.Errorf("a medium that was changed: got %v", err)
	}
	if err := s.nodeset(t, "ubuntu24.04-x86_64-install-compute"); err == nil || !strings.Contains(err.Error(), "gone or was changed") {
		t.Errorf("nodeset: got %v", err)
	}
}

// TestHTTPBoot: UEFI HTTP boot goes by iPXE, and then on as any does.
func TestHTTPBoot(t *testing.T) {
	s := newSite(t)
	s.copycds(t, "rhels9.4")
	if err := s.nodeset(t, "rhels9.4-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	s.node.HTTPBoot = true
	if got := s.get(t, "boot/vm1/bootx64.efi"); got != "iPXE" {
		t.Errorf("got %q", got)
	}
	if got := s.get(t, s.argument(t, "inst.ks=")); !strings.Contains(got, "rootpw") {
		t.Error("no kickstart")
	}
}

// TestCardsOwnLoader: a card's own iPXE starts kernels itself, if it has HTTP.
func TestCardsOwnLoader(t *testing.T) {
	s := newSite(t)
	s.copycds(t, "rhels9.4")
	if err := s.nodeset(t, "rhels9.4-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	mac, _ := net.ParseMAC("00:50:56:aa:bb:cc")
	for http, want := range map[bool]string{true: "http://10.1.0.1/boot/vm1/script", false: "xcat/xnba.kpxe"} {
		m := netboot.Machine{MAC: mac, Local: netip.MustParseAddr("10.1.0.1"), Firmware: netboot.BIOS, PXE: true, Loader: true, HTTP: http}
		p, err := s.Plan(context.Background(), m)
		if err != nil || p.File != want {
			t.Errorf("with HTTP %v: got %v, %v, want %s", http, p, err, want)
		}
	}
}

// TestDiskless boots an image that has no medium.
func TestDiskless(t *testing.T) {
	s := newSite(t)
	err := s.db.Update(context.Background(), func(tx *nodedb.Tx) error {
		tx.Put(nodedb.Key{Kind: nodedb.KindImage, Name: "debian12-x86_64-netboot-compute"}, map[string]string{
			"osimage.osvers": "debian12", "osimage.osarch": "x86_64", "osimage.profile": "compute", "osimage.provmethod": "netboot",
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.nodeset(t, "debian12-x86_64-netboot-compute"); err == nil {
		t.Error("nodeset without an image: no error")
	}
	dir := filepath.Join(s.state, "install", "netboot", "debian12", "x86_64", "compute")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{imageKernel, imageInitrd, imageRoot} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.nodeset(t, "debian12-x86_64-netboot-compute"); err != nil {
		t.Fatal(err)
	}
	if got := s.get(t, s.argument(t, "margay.root=")); got != imageRoot {
		t.Errorf("root: got %q", got)
	}
	if got := s.get(t, s.argument(t, "margay.boot=")+"/mypostscript"); !strings.Contains(got, "|root:"+hashed+":|") {
		t.Errorf("mypostscript has no hash:\n%s", got)
	}
	say := strings.TrimPrefix(s.argument(t, "margay.say="), "http://10.1.0.1/")
	for _, tt := range []struct{ step, status string }{{"installing", "netbooting"}, {"booted", "booted"}} {
		if err := s.Receive(context.Background(), s.node, say+"/"+tt.step, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		n, err := s.db.Snapshot().Node("vm1")
		if err != nil || string(n.Status) != tt.status || n.CurrState != "netboot debian12-x86_64-compute" {
			t.Errorf("after %s: status %s, state %s, %v", tt.step, n.Status, n.CurrState, err)
		}
	}
}

func TestGenimageRefuses(t *testing.T) {
	s := newSite(t)
	s.copycds(t, "rhels9.4")
	ctx := context.Background()
	if err := s.Genimage(ctx, "rhels9.4-x86_64-netboot-compute", provision.ImageBuild{}); err == nil || !strings.Contains(err.Error(), "--root DIR") && !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("got %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	err := s.Genimage(ctx, "rhels9.4-x86_64-netboot-compute", provision.ImageBuild{Root: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "apt-get install squashfs-tools") {
		t.Errorf("got %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(s.state, "install", "netboot", "*", "*", ".*"))
	if len(left) > 0 {
		t.Errorf("it leaves %s", left)
	}
}

func (s *site) setAttr(t *testing.T, column, value string) {
	t.Helper()
	err := s.db.Update(context.Background(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "vm1"}, column, value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnswersEnd: once the installer says that it has begun, its answers are no
// longer to be had, and the postscripts still are until it is done.
func TestAnswersEnd(t *testing.T) {
	s := newSite(t)
	s.copycds(t, "rhels9.4")
	if err := s.nodeset(t, "rhels9.4-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	answers := s.argument(t, "inst.ks=")
	post := strings.Replace(answers, "ks.cfg", "mypostscript", 1)
	token := answers[strings.Index(answers, "?t=")+3:]
	say := func(step string) {
		t.Helper()
		if err := s.Receive(context.Background(), s.node, "callback/"+token+"/"+step, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
	}
	s.get(t, answers)
	s.get(t, answers) // a machine's own second try
	say("installing")
	var refusal *netboot.Refusal
	if _, err := s.open(answers); !errors.As(err, &refusal) {
		t.Errorf("answers after the installer began: %v", err)
	}
	s.get(t, post)
	say("installed")
	if _, err := s.open(post); !errors.As(err, &refusal) {
		t.Errorf("postscripts after the install: %v", err)
	}
}
