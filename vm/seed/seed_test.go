package seed

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"
)

func guest() Guest {
	return Guest{
		Name: "vm1", Domain: "cluster.test", Keys: []string{"ssh-ed25519 AAAA root@mn"}, Password: "$6$salt$hash", Commands: []string{`echo "it's done"`},
		NICs: []NIC{{MAC: "42:1B:C0:A8:05:CA", Addr: netip.MustParsePrefix("192.168.5.202/24"), Router: netip.MustParseAddr("192.168.5.1"),
			DNS: []netip.Addr{netip.MustParseAddr("192.168.5.2")}, Search: []string{"cluster.test"}}, {MAC: "42:00:00:00:00:02"}},
	}
}

func disc(t *testing.T, s *Seed) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDisc(t *testing.T) {
	s, err := New(guest())
	if err != nil {
		t.Fatal(err)
	}
	img, err := iso9660.OpenImage(bytes.NewReader(disc(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	if label, err := img.Label(); err != nil || strings.TrimSpace(label) != Label {
		t.Errorf("label %q, %v", label, err)
	}
	root, err := img.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := root.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		b, err := io.ReadAll(f.Reader())
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name()] = string(b)
	}
	for name, want := range map[string][]byte{"meta-data": s.MetaData, "user-data": s.UserData, "network-config": s.NetworkConfig} {
		if got[name] != string(want) {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if len(got) != 3 {
		t.Errorf("files %v", got)
	}
}

func TestContents(t *testing.T) {
	s, err := New(guest())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(s.UserData, []byte("#cloud-config\n")) {
		t.Errorf("user-data begins %q", s.UserData[:20])
	}
	var net struct {
		Version   int
		Ethernets map[string]struct {
			Match     struct{ Macaddress string }
			Addresses []string
			DHCP4     bool
			Routes    []struct{ To, Via string }
		}
	}
	if err := json.Unmarshal(s.NetworkConfig, &net); err != nil {
		t.Fatal(err)
	}
	e := net.Ethernets["eth0"]
	if net.Version != 2 || e.Match.Macaddress != "42:1b:c0:a8:05:ca" || e.Addresses[0] != "192.168.5.202/24" || e.Routes[0].Via != "192.168.5.1" || !net.Ethernets["eth1"].DHCP4 {
		t.Errorf("network %s", s.NetworkConfig)
	}
	for _, g := range []Guest{{}, {Name: "a b"}, {Name: "vm1", Password: "cluster"}, {Name: "vm1", Keys: []string{"a\nb c"}}, {Name: "vm1", NICs: []NIC{{}}}} {
		if _, err := New(g); err == nil {
			t.Errorf("%+v is let pass", g)
		}
	}
	if _, err := New(Guest{Name: "vm1", Password: "cluster"}); strings.Contains(err.Error(), "cluster") {
		t.Error("the password is in the error")
	}
}

// xorriso, which shares no code with the writer, finds the files.
func TestAgainstXorriso(t *testing.T) {
	bin, err := exec.LookPath("xorriso")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal("xorriso is not installed (package xorriso)")
		}
		t.Skip("xorriso is not installed (package xorriso)")
	}
	s, err := New(guest())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	iso := filepath.Join(dir, "seed.iso")
	if err := os.WriteFile(iso, disc(t, s), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "-osirrox", "on", "-indev", iso, "-pvd_info", "-extract", "/", filepath.Join(dir, "x")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), Label) {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string][]byte{"meta-data": s.MetaData, "user-data": s.UserData, "network-config": s.NetworkConfig} {
		b, err := os.ReadFile(filepath.Join(dir, "x", name))
		if err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: %v, %q", name, err, b)
		}
	}
}
