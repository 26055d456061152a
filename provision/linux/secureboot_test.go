package linux

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"margay/netboot"
	"margay/provision"
	"margay/provision/provisiontest"
	"margay/templates"
)

// efiProgram is the beginning of one, with a signature or without.
func efiProgram(signature bool, name string) []byte {
	b := make([]byte, 512)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	optional := 0x80 + 24
	binary.LittleEndian.PutUint16(b[optional:], 0x20b)
	binary.LittleEndian.PutUint32(b[optional+108:], 16)
	if signature {
		binary.LittleEndian.PutUint32(b[optional+112+32:], 0x1000)
		binary.LittleEndian.PutUint32(b[optional+112+36:], 8)
	}
	return append(b, name...)
}

// signedMedia are media with what their makers put on them for UEFI.
var signedMedia = []struct{ os, shim, grub, kernel, menu string }{
	{"rhels9.4", "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "images/pxeboot/vmlinuz", "boot/vm1/grub.cfg-01-00-50-56-aa-bb-cc"},
	{"sles15.5", "EFI/BOOT/bootx64.efi", "EFI/BOOT/grub.efi", "boot/x86_64/loader/linux", "boot/vm1/grub.cfg"},
	{"debian11", "debian-installer/amd64/bootnetx64.efi", "debian-installer/amd64/grubx64.efi", "debian-installer/amd64/linux", "debian-installer/amd64/grub/grub.cfg"},
	{"ubuntu24.04", "amd64/bootx64.efi", "amd64/grubx64.efi", "casper/vmlinuz", "grub/grub.cfg"},
}

// TestSignedLoaders follows firmware that loads by HTTP to the kernel, on which
// nothing that is not signed runs.
func TestSignedLoaders(t *testing.T) {
	for _, tt := range signedMedia {
		t.Run(tt.os, func(t *testing.T) {
			s := newSite(t)
			iso := provisiontest.MakeLinux(t, provisiontest.Linux{OS: tt.os, Files: map[string][]byte{
				tt.shim: efiProgram(true, "shim"), tt.grub: efiProgram(true, "User-Agent: GRUB 2.06 grub"), tt.kernel: efiProgram(true, "kernel"),
			}})
			if _, err := s.Copycds(context.Background(), provision.Copy{Path: iso}); err != nil {
				t.Fatal(err)
			}
			if err := s.nodeset(t, tt.os+"-x86_64-install-compute"); err != nil {
				t.Fatal(err)
			}
			s.node.HTTPBoot = true
			if got := s.get(t, "boot/vm1/bootx64.efi"); !strings.HasSuffix(got, "shim") {
				t.Errorf("firmware gets %q", got[max(0, len(got)-10):])
			}
			for _, name := range []string{"grubx64.efi", "grub.efi"} {
				if got := s.get(t, "boot/vm1/"+name); !strings.HasSuffix(got, "grub") {
					t.Errorf("shim gets %q for %s", got[max(0, len(got)-10):], name)
				}
			}
			menu := s.get(t, tt.menu)
			for _, want := range []string{"linux ($1,10.1.0.1)/install/" + tt.os + "/x86_64/" + tt.kernel + " ", "\nstart http\n", "?t=vm1.1.", "/failed"} {
				if !strings.Contains(menu, want) && !(want == "?t=vm1.1." && strings.HasPrefix(tt.os, "ubuntu")) {
					t.Errorf("no %q in\n%s", want, menu)
				}
			}
			checkMenu(t, menu)
			if strings.Contains(menu, "${netX") {
				t.Errorf("iPXE's words in GRUB's menu:\n%s", menu)
			}
			chain := linkOf(t, s, "uefi-http")
			if !strings.Contains(chain, "Secure Boot can stay on: shim, GRUB and kernel are signed") || !strings.Contains(chain, tt.shim) {
				t.Errorf("show chain: %s", chain)
			}
			other := s.node
			other.Addr = other.Addr.Next()
			if f, err := s.Open(context.Background(), other, tt.menu); err == nil {
				f.Body.Close()
				t.Error("another machine gets the menu")
			}
		})
	}
}

// checkMenu has GRUB's own reader read a menu.
func checkMenu(t *testing.T, menu string) {
	t.Helper()
	tool, err := exec.LookPath("grub-script-check")
	if err != nil {
		t.Logf("not read by GRUB: %v", err)
		return
	}
	cmd := exec.Command(tool)
	cmd.Stdin = strings.NewReader(menu)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("GRUB: %v: %s\n%s", err, out, menu)
	}
}

func linkOf(t *testing.T, s *site, firmware string) string {
	t.Helper()
	snap := s.db.Snapshot()
	n, err := snap.Node("vm1")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range s.Chain(snap, n) {
		if link.Firmware == firmware {
			return link.Text
		}
	}
	t.Fatalf("no %s", firmware)
	return ""
}

// TestUnsignedLoaders: without signatures iPXE is sent, and show chain says so.
func TestUnsignedLoaders(t *testing.T) {
	for _, tt := range []struct {
		name               string
		shim, grub, kernel []byte
		gets, says         string
	}{
		{"no signatures", efiProgram(false, "shim"), efiProgram(false, "grub"), nil, "iPXE", "iPXE is not signed"},
		{"GRUB is not signed", efiProgram(true, "shim"), efiProgram(false, "grub"), nil, "iPXE", "iPXE is not signed"},
		{"no loaders", nil, nil, nil, "iPXE", "iPXE is not signed"},
		{"GRUB knows no HTTP", efiProgram(true, "shim"), efiProgram(true, "grub"), nil, "iPXE", "iPXE is not signed, and its signed GRUB loads by TFTP only"},
		{"kernel is not signed", efiProgram(true, "shim"), efiProgram(true, "User-Agent: GRUB grub"), efiProgram(false, "kernel"), "shim", "the kernel images/pxeboot/vmlinuz is not signed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			files := map[string][]byte{}
			for name, data := range map[string][]byte{"EFI/BOOT/BOOTX64.EFI": tt.shim, "EFI/BOOT/grubx64.efi": tt.grub, "images/pxeboot/vmlinuz": tt.kernel} {
				if data != nil {
					files[name] = data
				}
			}
			iso := provisiontest.MakeLinux(t, provisiontest.Linux{OS: "rhels9.4", Files: files})
			if _, err := s.Copycds(context.Background(), provision.Copy{Path: iso}); err != nil {
				t.Fatal(err)
			}
			if err := s.nodeset(t, "rhels9.4-x86_64-install-compute"); err != nil {
				t.Fatal(err)
			}
			s.node.HTTPBoot = true
			if got := s.get(t, "boot/vm1/bootx64.efi"); !strings.HasSuffix(got, tt.gets) {
				t.Errorf("firmware gets %q", got[max(0, len(got)-10):])
			}
			if chain := linkOf(t, s, "uefi-http"); !strings.Contains(chain, "Secure Boot must be off: "+tt.says) {
				t.Errorf("show chain: %s", chain)
			}
		})
	}
}

// TestHasSignature reads Debian's own programs, where they are at hand.
func TestHasSignature(t *testing.T) {
	const dir = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]bool{"bootnetx64.efi": true, "grubx64.efi": true, "linux": true, "initrd.gz": false} {
		if got := signed(os.DirFS(dir), name); got != want {
			t.Errorf("%s: signed is %v", name, got)
		}
	}
	if signed(fstest.MapFS{"a": {Data: []byte("MZ")}}, "a") {
		t.Error("two bytes are signed")
	}
}

func FuzzHasSignature(f *testing.F) {
	f.Add(efiProgram(true, ""))
	f.Add(efiProgram(false, ""))
	f.Fuzz(func(t *testing.T, b []byte) { hasSignature(b) })
}

// TestMenuByTFTP: noderes.netboot=grub2 sends shim by TFTP, and a server whose
// HTTP port GRUB does not know has it all by TFTP.
func TestMenuByTFTP(t *testing.T) {
	s := newSite(t)
	s.HTTPPort = 8080
	iso := provisiontest.MakeLinux(t, provisiontest.Linux{OS: "debian11", Files: map[string][]byte{
		"debian-installer/amd64/bootnetx64.efi": efiProgram(true, "shim"), "debian-installer/amd64/grubx64.efi": efiProgram(true, "grub"),
	}})
	if _, err := s.Copycds(context.Background(), provision.Copy{Path: iso}); err != nil {
		t.Fatal(err)
	}
	s.setAttr(t, "noderes.netboot", "grub2")
	if err := s.nodeset(t, "debian11-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	n, _ := s.db.Snapshot().Node("vm1")
	plan, err := s.Plan(context.Background(), netboot.Machine{MAC: n.MACs[0].Addr, Firmware: netboot.UEFI64, PXE: true, Local: s.node.Local})
	if err != nil || plan.File != "boot/vm1/shimx64.efi" {
		t.Fatalf("told to load %v, %v", plan, err)
	}
	s.node.TFTP = true
	if got := s.get(t, "boot/vm1/shimx64.efi"); !strings.HasSuffix(got, "shim") {
		t.Error("no shim")
	}
	if menu := s.get(t, "debian-installer/amd64/grub/grub.cfg"); strings.Contains(menu, "start http") || !strings.Contains(menu, "\nstart tftp\n") {
		t.Errorf("menu:\n%s", menu)
	}
}

// A tellingFamily says which files its own looks for as it makes one.
type tellingFamily struct {
	provision.Family
	looked *[]string
}

func (f tellingFamily) Make(b *provision.Boot, name string) ([]byte, error) {
	b.Looked = func(file string) { *f.looked = append(*f.looked, name+" "+file) }
	return f.Family.Make(b, name)
}

// TestScriptsTellWhatTheyLookFor: they are kept until one of these changes.
func TestScriptsTellWhatTheyLookFor(t *testing.T) {
	s := worksite(t)
	var looked []string
	set := templates.New("/nonexistent")
	s.Families = []provision.Family{tellingFamily{New(set), &looked}, tellingFamily{NewWork(set), &looked}}
	iso := provisiontest.MakeLinux(t, provisiontest.Linux{OS: "rhels9.4", Files: map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI": efiProgram(true, "shim"), "EFI/BOOT/grubx64.efi": efiProgram(true, "User-Agent: GRUB 2.06 grub"), "images/pxeboot/vmlinuz": efiProgram(true, "kernel"),
	}})
	if _, err := s.Copycds(context.Background(), provision.Copy{Path: iso}); err != nil {
		t.Fatal(err)
	}
	check := func(url, want string) {
		t.Helper()
		looked = nil
		if s.get(t, url); !slices.Contains(looked, want) {
			t.Errorf("%s: told of %q, not of %s", url, looked, want)
		}
	}
	if err := s.nodeset(t, "rhels9.4-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	check("boot/vm1/script", "script /nonexistent/ipxe/linux.ipxe")
	check("boot/vm1/grub.cfg", "grub.cfg /nonexistent/linux/grub.cfg")
	if _, err := s.chain(t, "shell"); err != nil {
		t.Fatal(err)
	}
	check("boot/vm1/script", "script /nonexistent/ipxe/linux.ipxe")
}
