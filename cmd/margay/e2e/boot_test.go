package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

const (
	tree    = "/install/esxi8.0.2/x86_64"
	install = "install esxi8.0.2-x86_64-base"
)

// TestFirmware installs one machine of each firmware and has it boot from its
// disk afterwards.
func TestFirmware(t *testing.T) {
	k := buildKit(t)
	l, m := newInstallLab(t, k)
	l.refuseIPv6(t)
	wire := netboottest.NewCapture(t, l.server, "eth0", nil)
	tests := []struct {
		machine
		args string // of the medium's boot loader
	}{
		{machine{bios, "esx1", "52:54:00:e2:e0:01", "10.77.0.11", ""},
			"-e -c " + base + "/boot/esx1/boot.cfg BOOTIF=01-52-54-00-e2-e0-01"},
		{machine{uefi, "esx2", "52:54:00:e2:e0:02", "10.77.0.12", ""},
			"bootx64.efi -e -c " + base + "/boot/esx2/boot.cfg"},
		{machine{uefiHTTP, "esx3", "52:54:00:e2:e0:03", "10.77.0.13", ""}, ""},
		{machine{uefiTLS, "esx4", "52:54:00:e2:e0:04", "10.77.0.14", l.authority(t)}, ""},
	}
	t.Cleanup(func() { // when all have booted
		for _, tt := range tests {
			if n := wire.Count(t, "dhcp && dhcp.hw.mac_addr == "+tt.mac); n < 4 {
				t.Errorf("%s: only %d DHCP packets were captured", tt.name, n)
			}
		}
		if bad := wire.Complaints(t, netip.MustParseAddr(serverAddr), "dhcp || dns || tftp && tftp.opcode != 5 || http || tls"); len(bad) > 0 {
			t.Errorf("tshark complains:\n%s", strings.Join(bad, "\n"))
		}
	})
	for _, tt := range tests {
		t.Run(string(tt.firmware), func(t *testing.T) {
			t.Parallel()
			l.define(t, tt.machine)
			l.install(t, tt.machine, k, m, tt.args)
		})
	}
}

// TestLostModule boots a machine from a tree that has lost a module: it is
// refused, its loader comes back to the script, and that tells the daemon.
func TestLostModule(t *testing.T) {
	k := buildKit(t)
	l, med := newInstallLab(t, k)
	m := machine{bios, "esx1", "52:54:00:e2:e0:01", "10.77.0.11", ""}
	l.define(t, m)
	lost := med.load[len(med.load)/2]
	if err := os.Remove(filepath.Join(l.state, "install/esxi8.0.2/x86_64", lost)); err != nil {
		t.Fatal(err)
	}
	c := m.start(t, l.lan, k)
	c.wait(t, 5*time.Minute, "MBOOT-FATAL: 15")
	c.wait(t, 2*time.Minute, m.name+": the ESXi boot loader did not start")
	out, err := l.command("watch", m.name, "--until", "installed", "--timeout", "2m").CombinedOutput()
	if err == nil {
		t.Error("margay watch --until installed ends well")
	}
	checkWatch(t, m.name, string(out), "refused.* "+lost+" is missing", "failed")
	l.expect(t, m.name, "status=failed")
}

// authority fetches what firmware is to trust, in the form that OVMF takes.
func (l *lab) authority(t *testing.T) string {
	t.Helper()
	list, err := curl(t, l.server, base+"/tls/ca.esl")
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(t.TempDir(), "ca.esl"), list)
}

// newInstallLab is a lab whose daemon has taken in a medium.
func newInstallLab(t *testing.T, k kit) (*lab, medium) {
	t.Helper()
	l := newLab(t)
	m := newMedium(t, k)
	t.Log(l.run(t, "copycds", m.iso))
	l.run(t, "chtab", "key=vmware", "passwd.username=root", "passwd.password=Cluster-1")
	return l, m
}

func (l *lab) define(t *testing.T, m machine) {
	t.Helper()
	l.run(t, "mkdef", "-t", "node", m.name, "groups=esxi,all", "mgt=ipmi", "netboot=xnba",
		"ip="+m.addr, "mac="+m.mac, "os=esxi8.0.2", "arch=x86_64", "profile=base")
	if m.firmware == uefiTLS {
		l.run(t, "chdef", m.name, "esxihttpmethod=https")
	}
	if got, want := l.run(t, "nodeset", m.name, "install"), m.name+": "+install+"\n"; got != want {
		t.Fatalf("nodeset: got %q, want %q", got, want)
	}
}

// install follows a machine from power on to its second boot.
func (l *lab) install(t *testing.T, m machine, k kit, med medium, args string) {
	watch := l.watch(t, m.name)
	c := m.start(t, l.lan, k)
	_, said := c.wait(t, 5*time.Minute, "MBOOT-DONE")
	t.Logf("%s: the boot loader of the medium says\n%s", m.firmware, brief(said))
	checkLoader(t, m, med, args, said)
	checkWatch(t, m.name, watch(), "dhcp", "bootloader", "bootcfg", "modules", "kickstart", "installing", "installed")
	l.expect(t, m.name, "currstate=boot", "status=installed")

	c.wait(t, 5*time.Minute, "DISK-BOOTED")
	l.seen(t, m.name, "localboot")
	l.expect(t, m.name, "currstate=boot", "status=installed")
	l.firstBoot(t, m, marked(said, "FIRSTBOOT"))
	l.expect(t, m.name, "currstate=boot", "status=booted")
}

// checkLoader compares what the medium's boot loader was told and what it got.
func checkLoader(t *testing.T, m machine, med medium, args string, said []string) {
	t.Helper()
	one := func(mark, pattern string) {
		t.Helper()
		got := marked(said, mark)
		if len(got) != 1 || !regexp.MustCompile("^"+pattern+"$").MatchString(got[0]) {
			t.Errorf("%s: got %q, want %s", mark, got, pattern)
		}
	}
	own := regexp.QuoteMeta(m.base() + "/boot/" + m.name)
	one("ARGS", regexp.QuoteMeta(args))
	cfg := own + "/boot.cfg"
	if m.firmware.http() {
		cfg = own + "/" + m.bootif() + "/boot.cfg"
		one("DIR", own+"/")
	}
	one("CFG", cfg+` \d+ [0-9a-f]{8}`)
	one("KERNEL", `b\.b00 .*\bks=`+own+`/ks\.cfg\?t=\S+ .*BOOTIF=`+m.bootif())
	one("BOOTIF", m.bootif())
	one("KS", own+`/ks\.cfg\?t=\S+ \d+ [0-9a-f]{8}`)
	if m.firmware != bios {
		one("CRYPTO", `\S*crypto64\.efi `+med.files["efi/boot/crypto64.efi"])
	}
	med.checkFetched(t, m.base()+tree, marked(said, "FILE"))
	checkCallbacks(t, marked(said, "CALLBACK"))
}

// checkCallbacks finds what the installer has to tell, once and in order;
// reports may stand between.
func checkCallbacks(t *testing.T, urls []string) {
	t.Helper()
	var steps []string
	for _, url := range urls {
		url, _, _ = strings.Cut(url, " ")
		if step := url[strings.LastIndexByte(url, '/')+1:]; step != "report" {
			steps = append(steps, step)
		}
	}
	if want := []string{"installing", "installed"}; !slices.Equal(steps, want) {
		t.Errorf("callbacks: got %q, want %q", steps, want)
	}
}

// watch starts margay watch and returns what waits for its end.
func (l *lab) watch(t *testing.T, node string) func() string {
	t.Helper()
	cmd := l.command("watch", node, "--until", "installed", "--timeout", "8m")
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return func() string {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Errorf("margay watch %s: %v", node, err)
		}
		return out.String()
	}
}

// checkWatch finds the steps in a timeline, in their order.
func checkWatch(t *testing.T, node, text string, steps ...string) {
	t.Helper()
	t.Logf("margay watch:\n%s", text)
	if step := lacks(node, text, steps); step != "" {
		t.Errorf("margay watch: no step %s of %v in its place", step, steps)
	}
}

// lacks is the first of the steps that a timeline does not have in its place.
func lacks(node, text string, steps []string) string {
	for _, step := range steps {
		at := regexp.MustCompile(`(?m)^` + node + `: .*\b` + step + `\b`).FindStringIndex(text)
		if at == nil {
			return step
		}
		text = text[at[1]:]
	}
	return ""
}

// seen waits until a node's timeline has the steps: the daemon notes what it
// sent when it has sent it.
func (l *lab) seen(t *testing.T, node string, steps ...string) {
	t.Helper()
	text := ""
	within(func() bool {
		text = l.run(t, "watch", node, "--once")
		return lacks(node, text, steps) == ""
	})
	checkWatch(t, node, text, steps...)
}

// expect waits until lsdef shows the attributes.
func (l *lab) expect(t *testing.T, node string, want ...string) {
	t.Helper()
	out := ""
	lacking := func() []string {
		return slices.DeleteFunc(slices.Clone(want), func(attr string) bool { return slices.Contains(strings.Fields(out), attr) })
	}
	within(func() bool {
		out = l.run(t, "lsdef", node, "-i", "currstate,status")
		return len(lacking()) == 0
	})
	for _, attr := range lacking() {
		t.Errorf("lsdef: no %s in\n%s", attr, out)
	}
}

// within waits a minute at most until something is so.
func within(so func() bool) {
	for end := time.Now().Add(time.Minute); !so() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
}

// firstBoot reports from the node's address, as the kickstart's %firstboot
// would: the system on the disk has no network of its own.
func (l *lab) firstBoot(t *testing.T, m machine, urls []string) {
	t.Helper()
	if len(urls) == 0 {
		t.Error("the kickstart says nothing at the first boot")
		return
	}
	node := l.lan.NewHost(t, m.addr+"/24")
	url := urls[len(urls)-1]
	if out, err := curl(t, node, "-X", "POST", url); err != nil {
		t.Errorf("POST %s: %v\n%s", url, err, out)
	}
}

// brief is what a boot loader said, with its modules counted.
func brief(said []string) string {
	var out []string
	files := 0
	for _, line := range said {
		switch {
		case strings.Contains(line, "MBOOT-FILE"):
			files++
		case strings.Contains(line, "MBOOT-"):
			out = append(out, line)
		}
	}
	return strings.Join(append(out, fmt.Sprintf("and fetched kernel and modules, %d files", files)), "\n")
}
