package provision

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"margay/nodedb"
)

// siteDefaults are what an xCAT set-up writes into the site table, but for
// auditskipcmds=ALL, with which nobody could look up who did what.
var siteDefaults = map[string]string{
	"blademaxp": "64", "fsptimeout": "0", "ipmimaxp": "64", "ipmiretries": "3", "ipmitimeout": "2",
	"consoleondemand": "no", "maxssh": "8", "ppcmaxp": "64", "ppcretry": "3", "ppctimeout": "0",
	"powerinterval": "0", "syspowerinterval": "0", "sharedtftp": "1", "SNsyncfiledir": "/var/xcat/syncfiles",
	"nodesyncfiledir": "/var/xcat/node/syncfiles", "tftpdir": "/tftpboot", "xcatdport": "3001", "xcatiport": "3002",
	"xcatconfdir": "/etc/xcat", "useNmapfromMN": "no", "enableASMI": "no", "sshbetweennodes": "ALLGROUPS",
	"dnshandler": "ddns", "vsftp": "n", "cleanupxcatpost": "no", "dhcplease": "43200", "auditnosyslog": "0",
	"xcattlspolicy": "modern",
}

// Setup fills an empty table as an xCAT set-up would: the site's defaults, the
// policies, a network for each of ours that is served, and the keys that may log
// in to hosts: root's own and the one given. A table that has a
// site row is left alone; Setup then returns nil.
func Setup(ctx context.Context, db *nodedb.DB, state string, served []Interface, key string) ([]string, error) {
	if len(db.Snapshot().Records(nodedb.KindSite)) > 0 {
		return nil, nil
	}
	var did []string
	err := db.Update(ctx, func(tx *nodedb.Tx) error {
		did = did[:0]
		for key, value := range siteFor(state, served, key) {
			tx.Put(nodedb.Key{Kind: nodedb.KindSite, Name: key}, map[string]string{"site.value": value})
		}
		for _, nw := range networksOf(served) {
			tx.Put(nodedb.Key{Kind: nodedb.KindNetwork, Name: nw.key()}, nw.attrs())
			did = append(did, nw.name())
		}
		for priority, row := range policies() {
			tx.Put(nodedb.Key{Kind: "policy", Name: priority}, row)
		}
		return nil
	})
	return did, err
}

func siteFor(state string, served []Interface, key string) map[string]string {
	site := map[string]string{"installdir": filepath.Join(state, "install"), "domain": domain()}
	for k, v := range siteDefaults {
		site[k] = v
	}
	if tz, err := os.ReadFile("/etc/timezone"); err == nil {
		site["timezone"] = strings.TrimSpace(string(tz))
	}
	if keys := append(publicKeys(), key); key != "" {
		site["sshkeys"] = strings.Join(keys, "|")
	}
	for _, i := range served {
		if len(i.Prefixes) > 0 {
			site["master"] = i.Prefixes[0].Addr().String()
			site["nameservers"] = site["master"]
			break
		}
	}
	return site
}

// publicKeys are root's own on this host, which may then log in to hosts, as
// xCAT has it; none where root has none, or we are not root.
func publicKeys() []string {
	if os.Geteuid() != 0 {
		return nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	var out []string
	files, _ := filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub"))
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			if line := strings.TrimSpace(string(text)); line != "" && !strings.ContainsAny(line, "|\n") {
				out = append(out, line)
			}
		}
	}
	return out
}

// domain is the host's own, or one that RFC 8375 keeps for private networks.
func domain() string {
	if host, err := os.Hostname(); err == nil {
		if _, d, ok := strings.Cut(host, "."); ok && d != "" {
			return strings.ToLower(d)
		}
	}
	return "home.arpa"
}

// policies are xCAT's, which say who may run what.
func policies() map[string]map[string]string {
	rows := map[string]map[string]string{"1": {"policy.name": "root", "policy.rule": "allow"}}
	for priority, command := range map[string]string{
		"2": "getbmcconfig", "2.1": "remoteimmsetup", "2.3": "lsxcatd", "3": "nextdestiny", "4": "getdestiny", "4.4": "getpostscript",
		"4.5": "getcredentials", "4.6": "syncfiles", "4.7": "litefile", "4.8": "litetree", "4.9": "getadapter",
	} {
		rows[priority] = map[string]string{"policy.commands": command, "policy.rule": "allow"}
	}
	return rows
}

// An Interface is one of ours that is served.
type Interface struct {
	Name     string
	Prefixes []netip.Prefix // IPv4, our address with its mask
	MTU      int
}

// Interfaces are the host's own by name; with no name, all that are up and
// have an IPv4 address, less loopback.
func Interfaces(names ...string) ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []Interface
	for _, i := range all {
		named := slices.Contains(names, i.Name)
		if len(names) > 0 && !named || !named && (i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0) {
			continue
		}
		it := Interface{Name: i.Name, MTU: i.MTU}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() && !p.Addr().IsLinkLocalUnicast() {
				it.Prefixes = append(it.Prefixes, p)
			}
		}
		if named || len(it.Prefixes) > 0 {
			out = append(out, it)
		}
	}
	for _, name := range names {
		if !hasInterface(out, name) {
			return nil, fmt.Errorf("interface %s: there is none of that name; see ip address", name)
		}
	}
	return out, nil
}

func hasInterface(list []Interface, name string) bool {
	for _, i := range list {
		if i.Name == name {
			return true
		}
	}
	return false
}

// A netDef is a networks row that makenetworks and the first start write.
type netDef struct {
	prefix netip.Prefix // masked
	own    netip.Addr   // our address there
	ifname string
	mtu    int
}

func networksOf(served []Interface) []netDef {
	var out []netDef
	seen := map[netip.Prefix]bool{}
	for _, i := range served {
		for _, p := range i.Prefixes {
			if m := p.Masked(); !seen[m] {
				seen[m] = true
				out = append(out, netDef{m, p.Addr(), i.Name, i.MTU})
			}
		}
	}
	return out
}

// name is as xCAT's makenetworks makes it: 10_1_0_0-255_255_0_0.
func (d netDef) name() string {
	return strings.ReplaceAll(d.prefix.Addr().String()+"-"+d.mask(), ".", "_")
}

func (d netDef) mask() string { return net.IP(net.CIDRMask(d.prefix.Bits(), 32)).String() }

func (d netDef) key() string { return d.prefix.Addr().String() + nodedb.KeySep + d.mask() }

func (d netDef) attrs() map[string]string {
	m := map[string]string{
		"networks.netname":    d.name(),
		"networks.mgtifname":  d.ifname,
		"networks.gateway":    "<xcatmaster>",
		"networks.tftpserver": "<xcatmaster>",
	}
	if gw := defaultGateway(); gw.IsValid() && d.prefix.Contains(gw) {
		m["networks.gateway"] = gw.String()
	}
	if d.mtu > 0 && d.mtu <= 65535 { // the loopback's is more than DHCP can say
		m["networks.mtu"] = strconv.Itoa(d.mtu)
	}
	return m
}

// defaultGateway is this host's own; zero if it has none (proc(5)).
func defaultGateway() netip.Addr {
	text, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return netip.Addr{}
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		v, err := strconv.ParseUint(f[2], 16, 32)
		if err != nil || v == 0 {
			continue
		}
		return netip.AddrFrom4([4]byte(binary.NativeEndian.AppendUint32(nil, uint32(v))))
	}
	return netip.Addr{}
}
