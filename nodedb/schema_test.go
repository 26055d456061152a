package nodedb

import (
	"slices"
	"strings"
	"testing"
)

func TestTablesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, table := range Tables() {
		if seen[table.Name] {
			t.Errorf("table %s is there twice", table.Name)
		}
		seen[table.Name] = true
		if table.Desc == "" {
			t.Errorf("table %s has no description", table.Name)
		}
		columns := map[string]bool{}
		for _, c := range table.Columns {
			if columns[c.Name] {
				t.Errorf("%s.%s is there twice", table.Name, c.Name)
			}
			columns[c.Name] = true
			if c.Desc == "" {
				t.Errorf("%s.%s has no description", table.Name, c.Name)
			}
		}
		for _, k := range append([]string{"comments", "disable"}, table.Keys...) {
			if !columns[k] {
				t.Errorf("table %s has no column %s", table.Name, k)
			}
		}
	}
}

func TestColumnOrder(t *testing.T) {
	tests := []struct{ table, columns string }{
		{"nodelist", "node groups status statustime appstatus appstatustime primarysn hidden updatestatus updatestatustime zonename comments disable"},
		{"noderes", "node servicenode netboot tftpserver tftpdir nfsserver monserver nfsdir installnic primarynic discoverynics cmdinterface xcatmaster current_osimage next_osimage nimserver routenames nameservers proxydhcp syslog comments disable"},
		{"nodehm", "node power mgt cons termserver termport conserver serialport serialspeed serialflow getmac cmdmapping consoleondemand consoleenabled comments disable"},
		{"ipmi", "node bmc bmcport taggedvlan bmcid username password comments disable"},
		{"vm", "node mgr host migrationdest storage storagemodel storagecache storageformat cfgstore memory cpus nics nicmodel bootorder clockoffset virtflags master vncport textconsole powerstate beacon datacenter cluster guestostype othersettings physlots vidmodel vidproto vidpassword comments disable"},
		{"hypervisor", "node type mgr interface netmap defaultnet cluster datacenter preferdirect comments disable"},
		{"networks", "netname net mask mgtifname gateway dhcpserver tftpserver nameservers ntpservers logservers dynamicrange staticrange staticrangeincrement nodehostname ddnsdomain vlanid domain mtu comments disable"},
		{"osimage", "imagename groups profile imagetype description provmethod rootfstype nfsrootopts osdistroname osupdatename cfmdir osname osvers osarch synclists postscripts postbootscripts serverrole isdeletable kitcomponents environvar comments disable"},
		{"linuximage", "imagename template boottarget addkcmdline pkglist pkgdir otherpkglist otherpkgdir exlist postinstall rootimgdir kerneldir nodebootif otherifce netdrivers kernelver krpmver permission dump crashkernelsize partitionfile driverupdatesrc comments disable"},
		{"passwd", "key username password cryptmethod authdomain comments disable"},
		{"site", "key value comments disable"},
		{"policy", "priority name host commands noderange parameters time rule comments disable"},
		{"zvm", "node hcp userid nodetype parent comments disable discovered status"},
		{"discoverydata", "uuid node method discoverytime arch cpucount cputype memory mtm serial nicdriver nicipv4 nichwaddr nicpci nicloc niconboard nicfirm switchname switchaddr switchdesc switchport otherdata comments disable"},
	}
	for _, tt := range tests {
		table := TableByName(tt.table)
		if table == nil {
			t.Errorf("no table %s", tt.table)
			continue
		}
		var got []string
		for _, c := range table.Columns {
			got = append(got, c.Name)
		}
		if s := strings.Join(got, " "); s != tt.columns {
			t.Errorf("%s has columns\n%s, want\n%s", tt.table, s, tt.columns)
		}
	}
}

func TestAttributePlaces(t *testing.T) {
	tests := []struct{ typ, attr, when, want string }{
		{"node", "os", "", "nodetype.os"},
		{"node", "usercomment", "", "nodelist.comments"},
		{"node", "vmothersetting", "", "vm.othersettings"},
		{"node", "supportproxydhcp", "", "noderes.proxydhcp"},
		{"node", "hostnetmap", "", "hypervisor.netmap"},
		{"node", "vmguestostype", "", "vm.guestostype"},
		{"node", "unit", "", "nodepos.u"},
		{"node", "productkey", "", "prodkey.key"},
		{"node", "bmc", "mgt=ipmi", "ipmi.bmc"},
		{"node", "bmc", "mgt=openbmc", "openbmc.bmc"},
		{"node", "bmcvlantag", "mgt=ipmi", "ipmi.taggedvlan"},
		{"node", "password", "nodetype=switch", "switches.sshpassword"},
		{"node", "nicips.eth1", "", "nics.nicips"},
		{"group", "bmc", "mgt=ipmi", "ipmi.bmc"},
		{"group", "usercomment", "", "nodegroup.comments"},
		{"osimage", "template", "imagetype=linux", "linuximage.template"},
		{"osimage", "dump", "imagetype=NIM", "nimimage.dump"},
		{"network", "usercomment", "", "networks.comments"},
		{"site", "master", "", "site.value"},
		{"route", "gateway", "", "routes.gateway"},
	}
	for _, tt := range tests {
		a := TypeByName(tt.typ).Attribute(tt.attr)
		if a == nil {
			t.Errorf("%s has no attribute %s", tt.typ, tt.attr)
			continue
		}
		name, value, _ := strings.Cut(tt.when, "=")
		p, ok := a.At(func(attr string) string {
			if attr == name {
				return value
			}
			return ""
		})
		if !ok || p.Attr() != tt.want {
			t.Errorf("%s %s with %q is %v, want %s", tt.typ, tt.attr, tt.when, p, tt.want)
		}
	}
	for _, name := range []string{"bogus", "status.eth0", "nicips."} {
		if a := TypeByName("node").Attribute(name); a != nil {
			t.Errorf("node has an attribute %s at %s", name, a.Places[0].Attr())
		}
	}
	if a := TypeByName("group").Attribute("status"); a != nil {
		t.Error("a group has a status")
	}
}

// Every column that decides where an attribute is must itself be an attribute
// that exists always.
func TestConditionsStand(t *testing.T) {
	for _, typ := range Types() {
		for _, a := range typ.Attributes {
			on, values := a.condition()
			if on == "" {
				continue
			}
			c := typ.Attribute(on)
			if c == nil || len(values) == 0 {
				t.Fatalf("%s %s depends on %s, which is no attribute", typ.Name, a.Name, on)
			}
			if deeper, _ := c.condition(); deeper != "" {
				t.Errorf("%s %s depends on %s, which depends on %s", typ.Name, a.Name, on, deeper)
			}
		}
	}
}

func TestSecretColumns(t *testing.T) {
	for _, c := range []string{"passwd.password", "ipmi.password", "openbmc.password", "prodkey.key", "vm.vidpassword", "site.snmpc"} {
		if !IsSecret(c) {
			t.Errorf("%s is not secret", c)
		}
	}
	for _, c := range []string{"passwd.username", "nodetype.os", "nosuch.column", "vm", "site.value", "site.domain", "site.key"} {
		if IsSecret(c) {
			t.Errorf("%s is secret", c)
		}
	}
	if !TypeByName("node").Attribute("bmcpassword").Secret() {
		t.Error("bmcpassword is not secret")
	}
	if !TypeByName("site").Attribute("snmpc").Secret() || TypeByName("site").Attribute("domain").Secret() {
		t.Error("of the site, snmpc is secret, and domain is not")
	}
}

func TestSiteKeysSorted(t *testing.T) {
	if !slices.IsSortedFunc(SiteKeys(), func(a, b SiteKey) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("site keys are not sorted")
	}
}
