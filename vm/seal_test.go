package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The script takes away what belongs to one guest, and nothing else.
func TestSealScript(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/udev/rules.d/70-persistent-net.rules":             "x",
		"etc/sysconfig/network-scripts/ifcfg-eth0":             "DEVICE=eth0\nHWADDR=00:0c:29:00:00:01\nUUID=1\nONBOOT=yes\n",
		"etc/NetworkManager/system-connections/a.nmconnection": "[connection]\nid=a\nuuid=1\n[ethernet]\nmac-address=00:0c:29:00:00:01\n",
		"etc/ssh/ssh_host_rsa_key":                             "secret", "etc/ssh/ssh_host_rsa_key.pub": "public", "etc/ssh/sshd_config": "Port 22\n",
		"etc/machine-id": "0123\n", "var/lib/dbus/machine-id": "0123\n", "etc/systemd/system/x.service": "x",
		"var/log/messages": "what was done", "root/.bash_history": "ls\n", "home/me/.bash_history": "ls\n", "home/me/work": "keep\n",
		"var/lib/dhclient/dhclient.leases": "x", "var/lib/cloud/instances/i/x": "x", "tmp/x": "x",
	} {
		f := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(f), 0o755)
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // a second run finds nothing to stumble over
		cmd := exec.Command("sh")
		cmd.Stdin = strings.NewReader(SealScript())
		cmd.Env = append(os.Environ(), "ROOT="+root)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, gone := range []string{"etc/udev/rules.d/70-persistent-net.rules", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "root/.bash_history", "home/me/.bash_history",
		"var/lib/dhclient/dhclient.leases", "var/lib/cloud/instances", "tmp/x"} {
		if _, err := os.Lstat(filepath.Join(root, gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	for name, want := range map[string]string{
		"etc/sysconfig/network-scripts/ifcfg-eth0":             "DEVICE=eth0\nONBOOT=yes\n",
		"etc/NetworkManager/system-connections/a.nmconnection": "[connection]\nid=a\n[ethernet]\n",
		"etc/machine-id": "", "var/log/messages": "", "etc/ssh/sshd_config": "Port 22\n", "home/me/work": "keep\n",
	} {
		if b, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", name, b, err, want)
		}
	}
	b, err := os.ReadFile(filepath.Join(root, "etc/systemd/system/multi-user.target.wants/ssh-host-keys.service"))
	if err != nil || !strings.HasPrefix(string(b), "[Unit]\n") || !strings.Contains(string(b), "ssh-keygen -A") {
		t.Errorf("the first boot makes no keys: %q, %v", b, err)
	}
}
