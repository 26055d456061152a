package esxi

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/provision/provisiontest"
	"margay/templates"
)

func install(t testing.TB, version string, more ...string) *provision.Boot {
	t.Helper()
	return bootOf(t, treeOf(t, version), "esxi"+trim(version), nodedb.ModeInstall, netboot.UEFI64, more...)
}

func ks(t *testing.T, b *provision.Boot) string {
	t.Helper()
	text, err := family().Make(b, "ks.cfg")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lineOf is the first line of a text that begins with a word.
func lineOf(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			return strings.TrimRight(line, "\n")
		}
	}
	return ""
}

func TestKickstartLines(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		attrs         attrs
		word, want    string
	}{
		{"preserve unless told", "8.0.2", nil, "install", "install --firstdisk --preservevmfs"},
		{"overwrite if told", "8.0.2", attrs{"esxi.vmfs=overwrite"}, "install", "install --firstdisk --overwritevmfs"},
		{"no datastore", "7.0.3", attrs{"esxi.vmfs=none"}, "install", "install --firstdisk --novmfsondisk"},
		{"filters", "6.7.0", attrs{"esxi.disk=firstdisk=usb,local"}, "install", "install --firstdisk=usb,local --preservevmfs"},
		{"by name", "6.7.0", attrs{"esxi.disk=naa.600508b1001c1234"}, "install", "install --disk=naa.600508b1001c1234 --preservevmfs"},
		{"by name, said so", "6.7.0", attrs{"esxi.disk=disk=mpx.vmhba0:C0:T0:L0"}, "install", "install --disk=mpx.vmhba0:C0:T0:L0 --preservevmfs"},
		{"found by %pre", "6.7.0", attrs{"esxi.disk=model=BOSS"}, "%include", "%include /tmp/margay-disk.cfg"},
		{"upgrade", "8.0.2", attrs{"esxi.method=upgrade"}, "upgrade", "upgrade --firstdisk"},
		{"installorupgrade", "8.0.2", attrs{"esxi.method=installorupgrade"}, "installorupgrade", "installorupgrade --firstdisk"},
		{"installorupgrade, overwriting", "8.0.2", attrs{"esxi.method=installorupgrade", "esxi.vmfs=overwrite"}, "installorupgrade", "installorupgrade --firstdisk --overwritevmfs"},
		{"4.1", "4.1.0", nil, "autopart", "autopart --firstdisk"},
		{"4.1 overwriting", "4.1.0", attrs{"esxi.vmfs=overwrite", "esxi.disk=mpx.vmhba0:C0:T0:L0"}, "autopart", "autopart --disk=mpx.vmhba0:C0:T0:L0 --overwritevmfs"},

		{"dhcp on what boots", "8.0.2", nil, "network", "network --bootproto=dhcp --device=00:50:56:aa:bb:cc"},
		{"dhcp elsewhere", "8.0.2", attrs{"esxi.device=vmnic2", "esxi.vlan=12"}, "network", "network --bootproto=dhcp --device=vmnic2 --vlanid=12"},
		{"static, own address", "8.0.2", attrs{"esxi.bootproto=static"}, "network",
			"network --bootproto=static --device=00:50:56:aa:bb:cc --ip=10.1.0.11 --netmask=255.255.0.0 --gateway=10.1.0.254 --nameserver=10.1.0.1 --hostname=esx1.cluster.example"},
		{"static, another network", "8.0.2", attrs{"esxi.ip=10.2.0.11", "esxi.vlan=20", "esxi.device=00-50-56-AA-BB-DD", "esxi.nameservers=10.2.0.3,10.2.0.4,10.2.0.5"}, "network",
			"network --bootproto=static --device=00:50:56:aa:bb:dd --ip=10.2.0.11 --netmask=255.255.255.0 --gateway=10.2.0.1 --nameserver=10.2.0.3,10.2.0.4 --hostname=esx1.cluster.example --vlanid=20"},
		{"static, no network of ours", "8.0.2", attrs{"esxi.ip=192.168.7.5/25", "esxi.gateway=192.168.7.1"}, "network",
			"network --bootproto=static --device=00:50:56:aa:bb:cc --ip=192.168.7.5 --netmask=255.255.255.128 --gateway=192.168.7.1 --nameserver=10.1.0.1 --hostname=esx1.cluster.example"},

		{"keyboard", "8.0.2", attrs{"esxi.keyboard=Swiss French"}, "keyboard", "keyboard 'Swiss French'"},
		{"licence", "8.0.2", attrs{"prodkey.key=aaaaa-BBBBB-CCCCC-DDDDD-EEEEE"}, "serialnum", "serialnum --esx=AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"},
		{"no licence from 9.0", "9.0.0", attrs{"prodkey.key=AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"}, "serialnum", ""},
		{"no %firstboot under Secure Boot", "8.0.2", attrs{"esxi.secureboot=yes"}, "%firstboot", ""},
		{"no SSH if told", "8.0.2", attrs{"esxi.ssh=no"}, "vim-cmd hostsvc/enable_ssh", ""},
		{"SSH", "8.0.2", nil, "vim-cmd hostsvc/enable_ssh", "vim-cmd hostsvc/enable_ssh"},
		{"NTP", "8.0.2", attrs{"esxi.ntpservers=a.example,10.0.0.9"}, "esxcli system ntp", "esxcli system ntp set -s a.example -s 10.0.0.9 -e true"},
		{"NTP of the network, before 7.0", "6.7.0", nil, "server 10", "server 10.1.0.2"},
		{"syslog", "8.0.2", attrs{"esxi.syslog=udp://10.1.0.1:514"}, "esxcli system syslog config", "esxcli system syslog config set --loghost='udp://10.1.0.1:514'"},
		{"port group", "8.0.2", attrs{"esxi.vswitches=vSwitch1:vmnic1:prod net=10"}, "esxcli network vswitch standard portgroup set", "esxcli network vswitch standard portgroup set -p 'prod net' -v 10"},
		{"NFS", "8.0.2", attrs{"esxi.nfs=vms=10.1.0.1:/vms/vmware"}, "esxcli storage nfs", "esxcli storage nfs add -H 10.1.0.1 -s /vms/vmware -v 'vms'"},
		{"datastore", "8.0.2", attrs{"esxi.datastore=local-esx1"}, "vim-cmd hostsvc/datastore", "vim-cmd hostsvc/datastore/rename datastore1 'local-esx1'"},
		{"services on", "8.0.2", attrs{"esxi.services=ntpd,-slpd"}, "/etc/init.d/ntpd start", "/etc/init.d/ntpd start"},
		{"services off", "6.7.0", attrs{"esxi.services=ntpd,-slpd"}, "chkconfig slpd off", "chkconfig slpd off"},
		{"firewall", "8.0.2", attrs{"esxi.firewall=-CIMSLP"}, "esxcli network firewall ruleset set -r CIM", "esxcli network firewall ruleset set -r CIMSLP -e false"},
		{"serial console of the installed system", "8.0.2", attrs{"nodehm.serialport=1", "nodehm.serialspeed=9600"}, "esxcli system settings kernel set -s com2", "esxcli system settings kernel set -s com2_baud -v 9600"},
		{"an old processor", "8.0.2", attrs{"esxi.legacycpu=yes"}, "  grep -q allowLegacyCPU", `  grep -q allowLegacyCPU "$cfg" || sed -i 's/^kernelopt=.*$/& allowLegacyCPU=true/' "$cfg"`},
		{"an old processor, before 7.0", "6.7.0", attrs{"esxi.legacycpu=yes"}, "  grep -q allowLegacyCPU", ""},
		{"keys", "8.0.2", attrs{"esxi.sshkeys=ssh-rsa AAAAB3NzaC1yc2E= me|ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHn root@mn"}, "ssh-rsa", "ssh-rsa AAAAB3NzaC1yc2E= me"},
	} {
		if got := lineOf(ks(t, install(t, tt.version, tt.attrs...)), tt.word); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	for _, tt := range []struct{ attr, want string }{
		{"esxi.vmfs=maybe", "not one of preserve, overwrite, none"},
		{"esxi.disk=whatever", "neither firstdisk"},
		{"esxi.disk=naa.x;reboot", "neither firstdisk"},
		{"esxi.disk=firstdisk=local;x", "not a filter"},
		{"esxi.disk=disk=sda", "not a disk's name"},
		{"esxi.disk=model=$(reboot)", "letters, digits"},
		{"esxi.disk=size=big", "a number and M, G or T"},
		{"esxi.disk=size=500G-100G", "nothing fits"},
		{"esxi.disk=size=-", "nothing fits"},
		{"esxi.disk=pick=best", "pick is first"},
		{"esxi.disk=ssd=maybe", "yes or no"},
		{"esxi.disk=colour=red", "not one of vendor"},
		{"esxi.vlan=5000", "not 0 to 4095"},
		{"esxi.device=eth0", "neither a MAC nor vmnicN"},
		{"esxi.ip=nonsense", "not an address"},
		{"esxi.ip=192.168.1.1", "in no network"},
		{"esxi.gateway=10.3.0.1 esxi.bootproto=static", "not in the network"},
		{"esxi.ssh=perhaps", "neither yes nor no"},
		{"esxi.sshkeys=hello", "not a public key"},
		{"esxi.ntpservers=a b;rm", ""},
		{"esxi.ntpservers=$(x)", "neither an address nor a host name"},
		{"esxi.syslog=udp://$(x)", "not as udp://"},
		{"esxi.datastore=a'b", "letters, digits"},
		{"esxi.vswitches=v:eth0", "not vmnicN"},
		{"esxi.vswitches=v:vmnic1:p=9999", "not 0 to 4095"},
		{"esxi.vswitches=v$:vmnic1", "not a switch's name"},
		{"esxi.nfs=a=b", "not name=server:/path"},
		{"esxi.nfs=a=h:/x;y", "not name=server:/path"},
		{"esxi.mediasize=huge", "not one of min"},
		{"esxi.services=a/../b", "not a name"},
		{"esxi.firewall=$(x)", "not a name"},
		{"nodehm.serialport=9", "not 0 to 3"},
		{"nodehm.serialport=0 nodehm.serialspeed=fast", "not a number"},
		{"bootparams.addkcmdline=x=#NODEATTRIB:ipmi:password#", "would put a secret"},
		{"prodkey.key=XYZ", "not a licence key"},
		{"esxi.keyboard=a\nrootpw x", "control character"},
	} {
		_, err := family().Make(install(t, "8.0.2", splitAttrs(tt.attr)...), "ks.cfg")
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.attr, err, tt.want)
		}
	}
}

// splitAttrs separates "a.b=c d.e=f" where the second word is a column too.
func splitAttrs(text string) attrs {
	for _, column := range []string{" esxi.", " nodehm."} {
		if a, b, ok := strings.Cut(text, column); ok {
			return attrs{a, column[1:] + b}
		}
	}
	return attrs{text}
}

func TestKernelOptions(t *testing.T) {
	b := install(t, "8.0.2", "nodehm.serialport=1", "nodehm.serialspeed=57600", "esxi.mediasize=small", "esxi.legacycpu=yes",
		"bootparams.addkcmdline=foo=bar rack=#NODEATTRIB:nodepos:rack#", "nodepos.rack=r7")
	text, err := family().Make(b, "boot.cfg")
	if err != nil {
		t.Fatal(err)
	}
	const want = "kernelopt=runweasel ks=http://10.1.0.1/boot/esx1/ks.cfg?t=esx1.1.0123456789abcdef0123456789abcdef" +
		" gdbPort=none logPort=none tty2Port=com2 com2_baud=57600 systemMediaSize=small allowLegacyCPU=true foo=bar rack=r7"
	if got := lineOf(string(text), "kernelopt"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	script, err := family().Make(b, "script")
	if err != nil || !strings.Contains(string(script), "bootx64.efi -e -S 2 -s 57600 -c http://") {
		t.Errorf("script: %v\n%s", err, script)
	}
}

func TestKernelOptionsOfESXi4(t *testing.T) {
	for option, want := range map[string]string{"a=b": "", "a=${x}": "cannot stand", "&&": "cannot stand", "a---b": "cannot stand"} {
		b := bootOf(t, treeOf(t, "4.1.0"), "esxi4.1", nodedb.ModeInstall, netboot.BIOS, "bootparams.addkcmdline="+option)
		_, err := family().Make(b, "script")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", option, err, want)
		}
	}
}

func TestOwnKickstartOnTheMediumGivesWay(t *testing.T) {
	cfg := "kernel=/b.b00\nkernelopt=ks=cdrom:/KS.CFG CdromBoot runweasel allowLegacyCPU=true\nmodules=/k.b00\nbuild=8.0.2-0.0.22380479\nnobootif=1\n"
	tree := medium(t, provisiontest.ESXi{Version: "8.0.2", Files: map[string][]byte{"efi/boot/boot.cfg": []byte(cfg)}})
	text, err := family().Make(bootOf(t, tree, "esxi8.0.2", nodedb.ModeInstall, netboot.UEFI64), "boot.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if got := lineOf(string(text), "kernelopt"); got != "kernelopt=runweasel allowLegacyCPU=true ks=http://10.1.0.1/boot/esx1/ks.cfg?t=esx1.1.0123456789abcdef0123456789abcdef" {
		t.Errorf("got %q", got)
	}
	if strings.Contains(string(text), "nobootif") {
		t.Error("nobootif is still there")
	}
}

// TestMixedCaseNamesAreTheTrees: the server's tree is asked for names that it has.
func TestMixedCaseNamesAreTheTrees(t *testing.T) {
	tree := medium(t, provisiontest.ESXi{Version: "8.0.2", Mixed: true})
	text, err := family().Make(bootOf(t, tree, "esxi8.0.2", nodedb.ModeInstall, netboot.BIOS), "boot.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "Lsi_MR3") || !strings.Contains(string(text), " lsi_mr3.v00 ") {
		t.Error("the medium's mixed-case name is asked for")
	}
}

func TestRootPassword(t *testing.T) {
	tree := medium(t, provisiontest.ESXi{Version: "8.0.2"})
	for _, tt := range []struct{ secret, want string }{
		{"", "no root password"},
		{"cluster", ""},
		{"$6$abc$" + strings.Repeat("x", 86), ""},
		{"$1$abcdefgh$" + strings.Repeat("x", 22), ""},
		{"$5$abc$" + strings.Repeat("x", 43), "does not take"},
		{"$2b$10$" + strings.Repeat("x", 53), "does not take"},
		{"$ecret", ""},
	} {
		records := []nodedb.Record{nodedbtest.Node("esx1", "all", "mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11")}
		if tt.secret != "" {
			records = append(records, nodedbtest.Password("vmware", "root", tt.secret))
		}
		b := bootOf(t, tree, "esxi8.0.2", nodedb.ModeInstall, netboot.BIOS)
		b.Snap = nodedbtest.New(t, records...).Snapshot()
		text, err := family().Make(b, "ks.cfg")
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.secret, err, tt.want)
			continue
		}
		if err != nil {
			continue
		}
		hash := strings.TrimPrefix(lineOf(string(text), "rootpw"), "rootpw --iscrypted ")
		if strings.HasPrefix(tt.secret, "$6$") || strings.HasPrefix(tt.secret, "$1$") {
			if hash != tt.secret {
				t.Errorf("%q: became %q", tt.secret, hash)
			}
		} else {
			checkHash(t, tt.secret, hash)
		}
		if again := ks(t, b); again != string(text) {
			t.Error("asked for twice, it differs")
		}
		b.Token += "x"
		if other := ks(t, b); lineOf(other, "rootpw") == lineOf(string(text), "rootpw") && tt.secret == "cluster" {
			t.Error("another attempt has the same salt")
		}
		b.Node = install(t, "8.0.2").Node
	}
}

// checkHash has openssl compute the same hash.
func checkHash(t *testing.T, password, hash string) {
	t.Helper()
	part := strings.Split(hash, "$")
	if len(part) != 4 || part[1] != "6" || len(part[2]) != 16 {
		t.Fatalf("%q is not a $6$ hash with a salt of 16", hash)
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal(err)
		}
		t.Skip("no openssl")
	}
	out, err := exec.Command(openssl, "passwd", "-6", "-salt", part[2], password).Output()
	if err != nil || strings.TrimSpace(string(out)) != hash {
		t.Errorf("openssl says %s (%v), we say %s", out, err, hash)
	}
}

func TestTemplateSearch(t *testing.T) {
	dir := t.TempDir()
	put := func(name string) {
		p := filepath.Join(dir, "esxi", name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		os.WriteFile(p, []byte("# "+name+"\nvmaccepteula\nrootpw --iscrypted {{.Password}}\ninstall --firstdisk\nreboot\n"), 0o644)
	}
	f := New(templates.New(dir))
	b := install(t, "8.0.2")
	check := func(want string) {
		t.Helper()
		text, err := f.Make(b, "ks.cfg")
		if err != nil {
			t.Fatal(err)
		}
		if got := lineOf(string(text), "#"); got != "# "+want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check("ESXi 8.0.2 on esx1. Made by margay for this host and this boot.")
	for _, name := range []string{"base.tmpl", "base.x86_64.tmpl", "base.esxi.tmpl", "base.esxi8.tmpl", "base.esxi8.0.x86_64.tmpl", "base.esxi8.0.2.tmpl", "base.esxi8.0.2.x86_64.tmpl"} {
		put(name)
		check(name)
	}
	b.Image = &nodedb.Image{Template: filepath.Join(dir, "esxi", "base.tmpl")}
	check("base.tmpl")
	b.Image = &nodedb.Image{Template: "base.x86_64.tmpl"}
	check("base.x86_64.tmpl")
	b.Image = &nodedb.Image{Name: "i", Template: "/etc/shadow"}
	if _, err := f.Make(b, "ks.cfg"); err == nil || !strings.Contains(err.Error(), "not a .tmpl file") {
		t.Errorf("got %v", err)
	}
	b.Image, b.Profile = nil, "nosuch"
	if _, err := f.Make(b, "ks.cfg"); err == nil || !strings.Contains(err.Error(), "esxi/nosuch.esxi8.0.2.x86_64.tmpl") {
		t.Errorf("got %v, want the names that were looked for", err)
	}
	b.Profile = "../../etc/x"
	if _, err := f.Make(b, "ks.cfg"); err == nil || !strings.Contains(err.Error(), "not a name") {
		t.Errorf("got %v", err)
	}
}

// TestTemplateThatTheInstallerRefuses: the linter stands between an operator's
// template and the host.
func TestTemplateThatTheInstallerRefuses(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "esxi"), 0o755)
	os.WriteFile(filepath.Join(dir, "esxi", "base.tmpl"), []byte("rootpw --iscrypted {{.Password}}\ninstall --firstdisk --disk=naa.1\n"), 0o644)
	_, err := New(templates.New(dir)).Make(install(t, "8.0.2"), "ks.cfg")
	if err == nil || !strings.Contains(err.Error(), "base.tmpl makes a kickstart that ESXi 8.0.2 refuses") {
		t.Errorf("got %v", err)
	}
}

func TestTemplatesShowNoSecrets(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "esxi"), 0o755)
	for text, want := range map[string]string{
		`{{call .Attr "nodepos.rack"}} {{call .Site "domain"}}`: "",
		`{{call .Attr "ipmi.password"}}`:                        "ipmi.password is a secret",
		`{{call .Site "snmpc"}}`:                                "site.snmpc is a secret",
		`{{.Nonsense}}`:                                         "base.tmpl:2",
	} {
		os.WriteFile(filepath.Join(dir, "esxi", "base.tmpl"), []byte("vmaccepteula\n# "+text+"\nrootpw --iscrypted {{.Password}}\ninstall --firstdisk\nreboot\n"), 0o644)
		out, err := New(templates.New(dir)).Make(install(t, "8.0.2", "nodepos.rack=r7", "ipmi.password=hidden"), "ks.cfg")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || strings.Contains(string(out), "hidden") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		if want == "" && !strings.Contains(string(out), "# r7 cluster.example\n") {
			t.Errorf("got %s", out)
		}
	}
}
