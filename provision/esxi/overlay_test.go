package esxi

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/templates"
)

func stateless(t testing.TB, version string, more ...string) *provision.Boot {
	t.Helper()
	return bootOf(t, treeOf(t, version), "esxi"+trim(version), nodedb.ModeNetboot, netboot.UEFI64, more...)
}

// untar lists a module: mode, name and text of each file.
func untar(t *testing.T, module []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := out[h.Name]; twice {
			t.Errorf("%s stands in it twice", h.Name)
		}
		out[h.Name] = fmt.Sprintf("%o %s", h.Mode, text)
	}
}

// TestOverlayOfTheTable: all that the table may say of a stateless host comes
// to stand in its overlay.
func TestOverlayOfTheTable(t *testing.T) {
	b := stateless(t, "8.0.2", "esxi.bootproto=static", "esxi.device=00:50:56:aa:bb:dd", "esxi.vlan=12", "esxi.services=snmpd,-slpd", "esxi.firewall=snmp,-CIMSLP",
		"esxi.ntpservers=10.1.0.9", "esxi.syslog=tcp://10.1.0.8:514", "esxi.vswitches=vSwitch1:vmnic2:prod=30", "esxi.nfs=vms=10.1.0.1:/vms", "esxi.shell=no")
	b.HostKey = func() ([]byte, error) { return []byte("-----BEGIN RSA PRIVATE KEY-----\n"), nil }
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "esxi"), 0o755)
	os.WriteFile(filepath.Join(dir, "esxi", "local.sh"), []byte("echo the operator is heard\n"), 0o644)
	module, err := New(templates.New(dir)).Make(b, "overlay.tgz")
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, module)
	if got := files["etc/ssh/ssh_host_rsa_key"]; got != "600 -----BEGIN RSA PRIVATE KEY-----\n" {
		t.Errorf("host key: %q", got)
	}
	script := files["etc/init.d/99.margay"]
	for _, want := range []string{
		"awk -v want='00:50:56:aa:bb:dd'",
		"portgroup set -p 'Management Network' -v 12",
		"ipv4 set -i vmk0 -t static -I 10.1.0.11 -N 255.255.0.0 -g 10.1.0.254",
		"esxcli network ip dns server add -s 10.1.0.1",
		"esxcli system hostname set --fqdn=esx1.cluster.example",
		"esxcli system ntp set -s 10.1.0.9 -e true",
		"esxcli system syslog config set --loghost='tcp://10.1.0.8:514'",
		"esxcli network vswitch standard add -v 'vSwitch1'",
		"portgroup set -p 'prod' -v 30",
		"esxcli storage nfs add -H 10.1.0.1 -s /vms -v 'vms'",
		"/etc/init.d/snmpd start", "/etc/init.d/slpd stop",
		"ruleset set -r snmp -e true", "ruleset set -r CIMSLP -e false",
		"vim-cmd hostsvc/start_ssh",
		"echo the operator is heard",
		"--post-file /tmp/margay-state/state.tgz " + b.CallbackURL("state"),
	} {
		if !strings.Contains(script, want) {
			t.Errorf("no %q in\n%s", want, script)
		}
	}
	if strings.Contains(script, "start_esx_shell") {
		t.Error("the shell is turned on")
	}
	if sh, err := exec.LookPath("sh"); err == nil {
		_, text, _ := strings.Cut(script, " ")
		cmd := exec.Command(sh, "-n")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("the script does not parse: %v %s", err, out)
		}
	}
}

func TestOverlay(t *testing.T) {
	for _, tt := range []struct{ version, keys, script string }{
		{"4.1.0", ".ssh/authorized_keys", "etc/vmware/init/init.d/99.margay"},
		{"5.5.0", "etc/ssh/keys-root/authorized_keys", "etc/init.d/99.margay"},
		{"8.0.2", "etc/ssh/keys-root/authorized_keys", "etc/init.d/99.margay"},
	} {
		b := stateless(t, tt.version)
		module, err := family().Make(b, overlayName(ParseVersion(tt.version)))
		if err != nil {
			t.Fatal(err)
		}
		files := untar(t, module)
		if got := files["etc/shadow"]; !strings.HasPrefix(got, "600 root:$6$") || !strings.Contains(got, "\ndcui:*:") {
			t.Errorf("%s: shadow is %q", tt.version, got)
		}
		if got := files[tt.keys]; got != "600 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHn root@mn\n" {
			t.Errorf("%s: keys are %q", tt.version, got)
		}
		if got := files[tt.script]; !strings.HasPrefix(got, "755 #!/bin/sh\n") || !strings.Contains(got, b.CallbackURL("booted")) {
			t.Errorf("%s: script is %q", tt.version, got)
		}
		if files["etc/"] != "755 " {
			t.Errorf("%s: no directory etc", tt.version)
		}
		again, err := family().Make(b, overlayName(ParseVersion(tt.version)))
		if err != nil || !bytes.Equal(module, again) {
			t.Errorf("%s: made twice, it differs", tt.version)
		}
	}
}

// TestOverlayIsFineForTar: an archiver that is not ours reads it too.
func TestOverlayIsFineForTar(t *testing.T) {
	module, err := family().Make(stateless(t, "8.0.2"), "overlay.tgz")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "tzvf", "-")
	cmd.Stdin = bytes.NewReader(module)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-rw-------") {
		t.Errorf("tar: %v\n%s", err, out)
	}
}

// TestOverlayScriptsAreShell: every line's start script parses.
func TestOverlayScriptsAreShell(t *testing.T) {
	all := attrs{"esxi.ip=10.2.0.11", "esxi.vlan=20", "esxi.nfs=a=h:/x", "esxi.vswitches=v1:vmnic1:p=3", "esxi.syslog=udp://10.1.0.1", "esxi.datastore=d"}
	for _, v := range lines {
		for _, more := range []attrs{nil, all} {
			module, err := family().Make(stateless(t, v, more...), overlayName(ParseVersion(v)))
			if err != nil {
				t.Fatal(err)
			}
			script := untar(t, module)[initScript(ParseVersion(v))]
			checkShell(t, v, strings.TrimPrefix(script, "755 "))
		}
	}
}

// checkShell has a shell parse a script.
func checkShell(t *testing.T, name, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", name, err, out, script)
	}
}

// TestKickstartScriptsAreShell: every line's sections parse, each by itself.
func TestKickstartScriptsAreShell(t *testing.T) {
	all := attrs{"esxi.ip=10.2.0.11", "esxi.disk=ssd=yes", "esxi.nfs=a=h:/x", "esxi.vswitches=v1:vmnic1:p=3", "esxi.syslog=udp://10.1.0.1", "esxi.datastore=d"}
	for _, v := range lines {
		for _, more := range []attrs{nil, all} {
			if v == "4.1.0" {
				more = nil
			}
			k := &kickstart{Linter: Linter{Version: ParseVersion(v)}, first: map[string]*ksCommand{}}
			k.parse(ks(t, install(t, v, more...)))
			if len(k.sections) != 3 {
				t.Errorf("%s: %d sections", v, len(k.sections))
			}
			for _, s := range k.sections {
				checkShell(t, v+" "+s.name, strings.Join(s.body, "\n"))
			}
		}
	}
}

func TestStatelessNetwork(t *testing.T) {
	module, err := family().Make(stateless(t, "8.0.2", "esxi.ip=10.2.0.11", "esxi.vlan=20", "esxi.nameservers=10.2.0.3"), "overlay.tgz")
	if err != nil {
		t.Fatal(err)
	}
	script := untar(t, module)["etc/init.d/99.margay"]
	for _, want := range []string{
		"portgroup set -p 'Management Network' -v 20\n",
		"ipv4 set -i vmk0 -t static -I 10.2.0.11 -N 255.255.255.0 -g 10.2.0.1\n",
		"dns server add -s 10.2.0.3\n",
		"hostname set --fqdn=esx1.cluster.example\n",
	} {
		if !strings.Contains(script, want) {
			t.Errorf("no %q in\n%s", want, script)
		}
	}
	if strings.Contains(script, "auto-backup") {
		t.Error("a host without a disk saves to it")
	}
}

func TestOperatorsOwnFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	put("esxi/overlay/etc/motd.tmpl", "{{.Node}} of {{.Hostname}}", 0o644)
	put("esxi/overlay/etc/rc.local.d/local.sh", "#!/bin/sh\n{{not a template}}\n", 0o755)
	put("esxi/overlay/etc/vmware/welcome", "general", 0o644)
	put("esxi/overlay.hypervisor/etc/vmware/welcome", "mine", 0o644)
	put("esxi/overlay.other/etc/no", "no", 0o644)
	f := New(templates.New(dir))
	module, err := f.Make(stateless(t, "8.0.2"), "overlay.tgz")
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, module)
	for name, want := range map[string]string{
		"etc/motd":                "644 esx1 of esx1.cluster.example",
		"etc/rc.local.d/local.sh": "755 #!/bin/sh\n{{not a template}}\n",
		"etc/vmware/welcome":      "644 mine",
		"etc/no":                  "",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	put("esxi/overlay/etc/shadow", "root::", 0o644)
	if _, err := f.Make(stateless(t, "8.0.2"), "overlay.tgz"); err == nil || !strings.Contains(err.Error(), "etc/shadow: root's password") {
		t.Errorf("got %v", err)
	}
}

// TestSavedStateComesBack, below the overlay.
func TestSavedStateComesBack(t *testing.T) {
	b := stateless(t, "8.0.2")
	b.State = func() ([]byte, error) { return []byte("saved"), nil }
	text, err := family().Make(b, "boot.cfg")
	if err != nil {
		t.Fatal(err)
	}
	want := " --- http://10.1.0.1/boot/esx1/state.tgz?t=" + b.Token + " --- http://10.1.0.1/boot/esx1/overlay.tgz?t=" + b.Token + "\n"
	if !strings.Contains(string(text), want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	if got, err := family().Make(b, "state.tgz"); err != nil || string(got) != "saved" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, none := range []func() ([]byte, error){nil, func() ([]byte, error) { return nil, nil }} {
		b.State = none
		if _, err := family().Make(b, "state.tgz"); err == nil {
			t.Error("a state that is not there")
		}
		if text, err := family().Make(b, "boot.cfg"); err != nil || strings.Contains(string(text), "state.tgz") {
			t.Errorf("boot.cfg asks for a state that is not there (%v)", err)
		}
	}
	b.State = func() ([]byte, error) { return nil, errors.New("disk is gone") }
	if _, err := family().Make(b, "boot.cfg"); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Errorf("got %v", err)
	}
}

func TestStatelessNeedsAPassword(t *testing.T) {
	b := stateless(t, "8.0.2")
	b.Snap = nodedbtest.New(t).Snapshot()
	if _, err := family().Make(b, "overlay.tgz"); err == nil || !strings.Contains(err.Error(), "no root password") {
		t.Errorf("got %v", err)
	}
}
