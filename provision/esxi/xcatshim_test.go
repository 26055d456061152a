package esxi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"margay/templates"
)

func oldKickstart(t *testing.T, text string, files map[string]string, more ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "esxi"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range files {
		os.WriteFile(filepath.Join(dir, "esxi", name), []byte(s), 0o644)
	}
	os.WriteFile(filepath.Join(dir, "esxi", "base.tmpl"), []byte(text), 0o644)
	b := install(t, "6.7.0", more...)
	b.Base = "http://10.1.0.1:8080"
	out, err := New(templates.New(dir)).Make(b, "ks.cfg")
	return string(out), err
}

const oldTop = "accepteula\nrootpw --iscrypted #CRYPT:passwd:key=vmware,username=root:password#\ninstall --firstdisk --overwritevmfs\n"

// TestOldTemplate: a kickstart as it was written for xCAT.
func TestOldTemplate(t *testing.T) {
	text, err := oldKickstart(t, oldTop+`#KICKSTARTNET#
# #HOSTNAME# #SHORTNAME# #GETNODEDOMAIN:$NODE# #GETPRINICMAC:$NODE# #MANAGEDADDRESSMODE#
# rack #TABLE:nodepos:$NODE:rack#, master #XCATVAR:XCATMASTER##COLONHTTPPORT#, domain #TABLE:site:key=domain:value#
# nfs #TABLE:noderes:$NODE:nfsserver#, nothing "#TABLEBLANKOKAY:nodepos:$NODE:u#", locked #CRYPTORLOCKED:passwd:key=none,username=root:password#
reboot
#INCLUDE:more#
#ESXIPV6SETUP#
`, map[string]string{"more": "%post --interpreter=busybox\necho ${1#x} #HOSTNAME# {{not ours}}\n#INCLUDE:most#\n", "most": "echo most"},
		"nodepos.rack=r7")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"rootpw --iscrypted $6$",
		"network --bootproto=dhcp --device=00:50:56:aa:bb:cc",
		"# esx1 esx1 cluster.example 00:50:56:aa:bb:cc dhcp",
		"# rack r7, master 10.1.0.1:8080, domain cluster.example",
		`# nfs 10.1.0.1, nothing "", locked *`,
		"echo ${1#x} esx1 {{not ours}}\necho most\n",
		"/installed && break", // margay's own sections behind it
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestOldTemplateErrors(t *testing.T) {
	for directive, want := range map[string]string{
		"#TABLE:nodepos:$NODE:rack#":                       "Unable to find requested field rack from table nodepos, with key $NODE",
		"#TABLE:nosuch:$NODE:x#":                           "names no column",
		"#TABLE:nodepos:$NODE#":                            "table:key:column",
		"#TABLE:nodepos:nosuch:rack#":                      "not found",
		"#TABLE:passwd:key=vmware,username=root:password#": "would put a secret",
		"#TABLE:ipmi:$NODE:password#":                      "would put a secret",
		"#CRYPT:passwd:key=none,username=root:password#":   "not found",
		"#CRYPT:nodepos:$NODE:rack#":                       "is not passwd:",
		"#COMMAND:reboot#":                                 "run a command",
		"#ENV:HOME#":                                       "environment",
		"#XCATVAR:OTHER#":                                  "there is XCATMASTER",
		"#INCLUDE:nosuch#":                                 "no such file",
		"#INCLUDE:base.tmpl#":                              "includes itself",
		"#MACHINEPASSWORD#":                                "is not for esxi6.7",
		"#INCLUDE_DEFAULT_PKGLIST:x#":                      "is not for esxi6.7",
	} {
		text, err := oldKickstart(t, oldTop+"reboot\n# "+directive+"\n", nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q\n%s", directive, err, want, text)
		}
	}
}
