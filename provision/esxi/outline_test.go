package esxi

import (
	"strings"
	"testing"
)

func TestOutline(t *testing.T) {
	for _, tt := range []struct {
		attrs attrs
		want  []string
	}{
		{nil, []string{"install ESXi 8.0.2", "disk: firstdisk, as the installer sorts them; datastores on it are kept", "management: by DHCP on 00:50:56:aa:bb:cc",
			"name esx1.cluster.example, name servers 10.1.0.1", "at its first boot: SSH for root, the ESXi shell, 1 SSH keys, time from 10.1.0.2"}},
		{attrs{"esxi.disk=model=BOSS", "esxi.vmfs=overwrite", "esxi.ip=10.2.0.11", "esxi.vlan=20", "esxi.device=vmnic3", "esxi.secureboot=yes", "esxi.ntpservers=10.1.0.9"},
			[]string{"disk: model=BOSS, found by %pre; none or several stop the install; DATASTORES ON IT ARE OVERWRITTEN",
				"management: 10.2.0.11/24 by 10.2.0.1 on vmnic3, VLAN 20", "NOT set, as nothing of ours runs at the first boot under Secure Boot: SSH for root"}},
		{attrs{"esxi.method=upgrade"}, []string{"upgrade ESXi", "what is on it is kept"}},
	} {
		lines, err := family().Outline(install(t, "8.0.2", tt.attrs...))
		text := strings.Join(lines, "\n")
		for _, want := range tt.want {
			if err != nil || !strings.Contains(text, want) {
				t.Errorf("%v: no %q in %v\n%s", tt.attrs, want, err, text)
			}
		}
	}
	lines, err := family().Outline(stateless(t, "8.0.2"))
	if err != nil || !strings.Contains(lines[0], "no disk is touched") {
		t.Errorf("%v %v", lines, err)
	}
}
