package esxi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// disks is what localcli storage core device list says on a host with a boot
// device, two data disks of one model, a USB stick and a CD drive.
const disks = `t10.ATA_____DELLBOSS_VD_____________________________5f3a0010001:
   Display Name: Local ATA Disk (t10.ATA_____DELLBOSS_VD_____________________________5f3a0010001)
   Size: 228872
   Device Type: Direct-Access
   Vendor: ATA
   Model: DELLBOSS VD
   Is Local: true
   Is SSD: true
   Is USB: false
   Other UIDs: vml.0100000000356633
naa.5000c500a1b2c3d4:
   Display Name: Local SEAGATE Disk (naa.5000c500a1b2c3d4)
   Size: 1144641
   Device Type: Direct-Access
   Vendor: SEAGATE
   Model: ST1200MM0099
   Is Local: true
   Is SSD: false
   Is USB: false
naa.5000c500a1b2c3d5:
   Display Name: Local SEAGATE Disk (naa.5000c500a1b2c3d5)
   Size: 1144640
   Device Type: Direct-Access
   Vendor: SEAGATE
   Model: ST1200MM0099
   Is Local: true
   Is SSD: false
   Is USB: false
mpx.vmhba32:C0:T0:L0:
   Display Name: Local USB Direct-Access (mpx.vmhba32:C0:T0:L0)
   Size: 30500
   Device Type: Direct-Access
   Vendor: Kingston
   Model: DataTraveler
   Is Local: true
   Is SSD: false
   Is USB: true
mpx.vmhba0:C0:T4:L0:
   Display Name: Local CD-ROM
   Size: 0
   Device Type: CD-ROM
   Vendor: TEAC
   Model: DVD-ROM
   Is Local: true
   Is SSD: false
   Is USB: false
`

// TestPreFindsTheDisk runs the rendered %pre in a shell, with a localcli of
// our own and a server that takes its words.
func TestPreFindsTheDisk(t *testing.T) {
	for _, tt := range []struct{ rule, want, said string }{
		{"model=boss", "install --disk=t10.ATA_____DELLBOSS_VD_____________________________5f3a0010001 --preservevmfs", "installs to t10.ATA"},
		{"ssd=yes,local=yes", "install --disk=t10.ATA_____DELLBOSS_VD_____________________________5f3a0010001 --preservevmfs", "installs to"},
		{"serial=c3d5", "install --disk=naa.5000c500a1b2c3d5 --preservevmfs", "installs to naa.5000c500a1b2c3d5"},
		{"vendor=SEAGATE,pick=first", "install --disk=naa.5000c500a1b2c3d4 --preservevmfs", "installs to"},
		{"vendor=SEAGATE,pick=smallest", "install --disk=naa.5000c500a1b2c3d5 --preservevmfs", "installs to"},
		{"local=yes,pick=largest", "install --disk=naa.5000c500a1b2c3d4 --preservevmfs", "installs to"},
		{"usb=yes", "install --disk=mpx.vmhba32:C0:T0:L0 --preservevmfs", "installs to mpx.vmhba32:C0:T0:L0, 30500 MB"},
		{"size=200G-300G", "install --disk=t10.ATA_____DELLBOSS_VD_____________________________5f3a0010001 --preservevmfs", "installs to"},
		{"size=-64G", "install --disk=mpx.vmhba32:C0:T0:L0 --preservevmfs", "installs to"},
		{"model=ST1200MM0099", "", "2 disks fit"},
		{"model=MegaRAID", "", "no disk fits model=MegaRAID; this host has t10.ATA"},
		{"vendor=TEAC", "", "no disk fits"},
	} {
		wrote, said, status := runPre(t, tt.rule, disks)
		if wrote != tt.want || (status == nil) != (tt.want != "") {
			t.Errorf("%s: wrote %q, ended %v, want %q", tt.rule, wrote, status, tt.want)
		}
		if !strings.Contains(said, tt.said) {
			t.Errorf("%s: said\n%swant %q in it", tt.rule, said, tt.said)
		}
	}
}

// runPre renders a kickstart with a disk rule and runs its %pre: what it wrote
// for the installer, what it told the server, and how it ended.
func runPre(t *testing.T, rule, devices string) (wrote, said string, status error) {
	t.Helper()
	var told strings.Builder
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		told.WriteString(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] + " " + string(b) + "\n")
	}))
	defer server.Close()
	b := install(t, "8.0.2", "esxi.disk="+rule)
	b.Base = server.URL
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "devices"), []byte(devices), 0o644)
	os.WriteFile(filepath.Join(bin, "localcli"), []byte("#!/bin/sh\ncase \"$*\" in storage*) cat "+dir+"/devices;; esac\n"), 0o755)
	useBusybox(t, bin)
	_, script, _ := strings.Cut(ks(t, b), "%pre --interpreter=busybox\n")
	script, _, _ = strings.Cut(script, "\n%post ")
	script = strings.ReplaceAll(script, "/tmp/", dir+"/")
	cmd := exec.Command("sh", "-c", script)
	cmd.Path = shell(bin)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, status := cmd.CombinedOutput()
	t.Logf("%s: %s", rule, out)
	text, _ := os.ReadFile(filepath.Join(dir, "margay-disk.cfg"))
	return strings.TrimSpace(string(text)), told.String(), status
}

// useBusybox puts busybox's tools before the system's, as ESXi has no others.
func useBusybox(t *testing.T, bin string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal(err)
		}
		return
	}
	for _, tool := range []string{"sh", "awk", "sort", "grep", "tr", "wget", "sed", "cat"} {
		if err := os.Symlink(busybox, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
}

func shell(bin string) string {
	if _, err := os.Stat(filepath.Join(bin, "sh")); err == nil {
		return filepath.Join(bin, "sh")
	}
	return "/bin/sh"
}
