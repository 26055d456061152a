package command

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/firewall"
	"margay/vm"
	"margay/vm/nfs"
)

// A service is one that the daemon may serve, for the doctor.
type servedPort struct {
	name     string
	network  string // udp, tcp
	standard int
	port     int // 0: off
	flag     string
	optional bool // machines boot without it
}

func servedPorts(s *Session) []servedPort {
	p := s.Ports
	dhcp := int(p.DHCP.Port())
	if p.DHCP.IsValid() && p.DHCP.Addr().IsLoopback() && p.Links {
		dhcp = 67 // what is asked at loopback is beside the interfaces
	}
	return []servedPort{
		{"DHCP", "udp", 67, dhcp, "--dhcp", false},
		{"TFTP", "udp", 69, p.TFTP, "--tftp", false},
		{"HTTP", "tcp", 80, p.HTTP, "--http", false},
		{"HTTPS", "tcp", 443, p.HTTPS, "--https", true},
		{"DNS", "udp", 53, p.DNS, "--dns", true},
	}
}

// portChecks says what is served, and who else holds the ports: another program
// that shares one takes requests away.
func portChecks(s *Session) []provision.Check {
	var out []provision.Check
	for _, p := range servedPorts(s) {
		name := "service " + p.name
		var others []string
		if s.Holders != nil {
			others = s.Holders(p.network, or(p.port, p.standard))
		}
		who := strings.Join(others, ", ")
		switch {
		case p.port == 0 && p.optional && len(others) == 0:
			out = append(out, provision.Check{Name: name, OK: true, Text: "off in this daemon"})
		case p.port == 0 && p.optional:
			out = append(out, provision.Check{Name: name, OK: true, Text: fmt.Sprintf("off in this daemon; port %d is held by %s", p.standard, who)})
		case p.port == 0 && len(others) > 0:
			out = append(out, provision.Check{Name: name, Text: fmt.Sprintf("off in this daemon; port %d is held by %s", p.standard, who), Way: "stop that and start the daemon without " + p.flag + " off"})
		case p.port == 0:
			out = append(out, provision.Check{Name: name, Text: "off in this daemon", Way: "start it without " + p.flag + " off"})
		case p.name == "DHCP" && !s.Ports.Links && s.Ports.DHCP.Addr().IsLoopback():
			out = append(out, provision.Check{Name: name, Text: "served on no interface", Way: "correct site.dhcpinterfaces, or name one with --interface, and start the daemon anew"})
		case len(others) > 0:
			out = append(out, provision.Check{Name: name, Text: fmt.Sprintf("port %d is served, and held by %s too, which takes requests away", p.port, who), Way: "stop " + others[0]})
		case p.port != p.standard && p.standard < 100 && p.name != "HTTP":
			out = append(out, provision.Check{Name: name, OK: true, Text: fmt.Sprintf("served at port %d: machines ask at %d", p.port, p.standard)})
		default:
			out = append(out, provision.Check{Name: name, OK: true, Text: "served"})
		}
	}
	return out
}

func or(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// firewallCheck plays what machines send through the host's packet filter.
func firewallCheck(ctx context.Context, s *Session) provision.Check {
	c := provision.Check{Name: "firewall", OK: true, Text: "no packet filter is in the way"}
	rules, err := firewall.Read(ctx)
	switch {
	case errors.Is(err, exec.ErrNotFound) && len(rules) == 0:
		c.Text = "neither nft nor iptables is here to ask"
		return c
	case err != nil && len(rules) == 0:
		c.Text = "its rules may not be read (" + err.Error() + "): see nft list ruleset; udp 67, 69 and 53, tcp 53 and 80, and TFTP's answers must get in"
		return c
	case len(rules) == 0:
		return c
	}
	c.Text = "it lets in what machines send"
	var unsure []string
	for _, p := range packets(s) {
		for _, r := range rules {
			switch v, why := r.Judge(p.Packet); v {
			case firewall.Drop:
				return provision.Check{Name: c.Name, Text: fmt.Sprintf("%s is dropped: %s", p.what, why), Way: p.way()}
			case firewall.Open:
				if !slices.Contains(unsure, p.what) {
					unsure = append(unsure, p.what)
				}
			}
		}
	}
	if len(unsure) > 0 {
		c.Text = "rules decide that could not be read of " + strings.Join(unsure, ", ") + ": see nft list ruleset"
	}
	return c
}

// A played packet is one of those that machines send.
type played struct {
	firewall.Packet
	what string
}

func (p played) way() string {
	if p.Answer {
		return "let in answers: nft insert rule inet filter input ct state established accept, or iptables -I INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"
	}
	return fmt.Sprintf("let it in: nft insert rule inet filter input %s dport %d accept, or iptables -I INPUT -p %s --dport %d -j ACCEPT", p.Proto, p.Port, p.Proto, p.Port)
}

func packets(s *Session) []played {
	ifnames := []string{""}
	for _, i := range s.served() {
		if i.Name != "lo" {
			ifnames = append(ifnames, i.Name)
		}
	}
	if len(ifnames) > 1 {
		ifnames = ifnames[1:]
	}
	var out []played
	for _, ifname := range ifnames {
		on := ""
		if ifname != "" {
			on = " on " + ifname
		}
		for _, p := range servedPorts(s) {
			if p.port == 0 {
				continue
			}
			out = append(out, played{firewall.Packet{Proto: p.network, Port: p.port, Interface: ifname}, fmt.Sprintf("%s (%s %d)%s", p.name, p.network, p.port, on)})
			switch p.name {
			case "DHCP":
				if slices.Contains(s.Proxied, ifname) { // PXE 2.1, 2.2.3
					out = append(out, played{firewall.Packet{Proto: "udp", Port: 4011, Interface: ifname}, "proxy DHCP (udp 4011)" + on})
				}
			case "TFTP":
				out = append(out, played{firewall.Packet{Proto: "udp", Port: 40000, Interface: ifname, Answer: true}, "what machines answer to TFTP" + on})
			case "DNS":
				out = append(out, played{firewall.Packet{Proto: "tcp", Port: p.port, Interface: ifname}, fmt.Sprintf("DNS (tcp %d)%s", p.port, on)})
			}
		}
	}
	return out
}

// mostExports is how many exports are asked for.
const mostExports = 64

// exportChecks asks each NFS server on which guests' disks or hosts' datastores
// are to be, whether it exports them.
func exportChecks(ctx context.Context, snap *nodedb.Snapshot) []provision.Check {
	users := map[vm.Location][]string{}
	for _, n := range snap.Nodes() {
		list, err := vm.ParseLocations(n.Attr("vm.storage"))
		if err != nil {
			continue // mkvm says so
		}
		for _, item := range strings.Split(n.Attr("esxi.nfs"), ",") {
			_, at, _ := strings.Cut(strings.TrimSpace(item), "=")
			if server, dir, ok := strings.Cut(at, ":"); ok {
				list = append(list, vm.Location{Scheme: vm.NFS, Server: server, Export: dir})
			}
		}
		for _, l := range list {
			if l.Scheme == vm.NFS {
				l.Bus = ""
				users[l] = append(users[l], n.Name)
			}
		}
	}
	var all []vm.Location
	for l := range users {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b vm.Location) int { return strings.Compare(a.String(), b.String()) })
	all = all[:min(len(all), mostExports)]
	out := make([]provision.Check, len(all))
	var asking sync.WaitGroup
	for i, l := range all {
		asking.Go(func() {
			c := provision.Check{Name: "storage " + l.String(), OK: true, Text: "exported, for " + briefly(users[l])}
			if err := (nfs.Asker{}).Check(ctx, l.Server, l.Export); err != nil {
				c.OK, c.Text = false, fmt.Sprintf("%v; it is for %s", err, briefly(users[l]))
				c.Way = fmt.Sprintf("on %s: add %s to /etc/exports with rw,no_root_squash for the hosts, exportfs -ra, and see that NFS 3 is on", l.Server, l.Export)
			}
			out[i] = c
		})
	}
	asking.Wait()
	return out
}

func briefly(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], " "), len(names)-3)
	}
	return strings.Join(names, " ")
}
