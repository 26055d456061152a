package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"margay/cmd/command"
	"margay/netboot"
	"margay/netboot/dhcp"
	"margay/provision"
)

// foreignWait is how long another DHCP server is given to show itself before
// we serve an interface; dnsmasq takes three seconds to offer an address.
const foreignWait = 4 * time.Second

// A link is an interface on which DHCP is served.
type link struct {
	provision.Interface
	mode dhcp.Mode
	conn *dhcp.Conn
}

// interfaceModes reads --interface's values: eth1, eth1=proxy, eth2=off.
func interfaceModes(flags []string) (names []string, modes map[string]dhcp.Mode, err error) {
	modes = map[string]dhcp.Mode{}
	for _, f := range flags {
		name, word, _ := strings.Cut(f, "=")
		mode, ok := map[string]dhcp.Mode{"": dhcp.Authoritative, "authoritative": dhcp.Authoritative, "proxy": dhcp.Proxy, "off": dhcp.Off}[word]
		if !ok {
			return nil, nil, fmt.Errorf("--interface %s: %q is none of authoritative, proxy, off", f, word)
		}
		names = append(names, name)
		modes[name] = mode
	}
	return names, modes, nil
}

// listenDHCP takes the ports of DHCP.
func (d *daemon) listenDHCP(ctx context.Context) error {
	switch d.dhcp {
	case "off":
		return nil
	case "on", "force":
		return d.listenLinks(ctx)
	}
	addr, err := parsePort(d.dhcp)
	if err != nil {
		return fmt.Errorf("--dhcp %s: not on, force, off or an address with a port", d.dhcp)
	}
	if d.probeConn, err = dhcp.ListenAddr(ctx, addr); err != nil {
		return portError("DHCP", "udp", d.dhcp, "--dhcp", err)
	}
	return nil
}

func (d *daemon) listenLinks(ctx context.Context) error {
	if len(d.served) == 0 {
		return errors.New("DHCP: no interface has an IPv4 address; name one with --interface, or give --dhcp off")
	}
	for _, i := range d.served {
		mode, named := d.modes[i.Name]
		if !named {
			mode = dhcp.Authoritative
		}
		if !named && !d.siteServes(i.Name) {
			continue
		}
		if mode == dhcp.Off {
			continue
		}
		conn, err := dhcp.ListenInterface(ctx, i.Name, mode)
		if err != nil {
			return portError("DHCP", "udp", ":67", "--dhcp", err)
		}
		d.links = append(d.links, &link{Interface: i, mode: mode, conn: conn})
	}
	if len(d.links) == 0 {
		d.log.Warn("DHCP is served on no interface: --interface and site.dhcpinterfaces leave out all that have an address", "dhcpinterfaces", d.db.Snapshot().Site("dhcpinterfaces"))
	}
	// A socket that is bound to an interface hears nothing from this host
	// itself: margay probe asks here.
	var err error
	d.probeConn, err = dhcp.ListenAddr(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	return err
}

// siteServes says whether the site has an interface served: its dhcpinterfaces
// names some, where --interface does not.
func (d *daemon) siteServes(ifname string) bool {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	names := provision.DHCPInterfaces(d.db.Snapshot(), host)
	return len(names) == 0 || slices.Contains(names, ifname)
}

// others looks for other DHCP servers on the links that are to be served with
// authority, on all at once.
func (d *daemon) others(ctx context.Context) map[string][]dhcp.Foreign {
	var mu sync.Mutex
	out := map[string][]dhcp.Foreign{}
	var all sync.WaitGroup
	for _, l := range d.links {
		all.Go(func() {
			if found := d.rivals(ctx, l); len(found) > 0 {
				mu.Lock()
				out[l.Name] = found
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return out
}

// serveLink serves one link until ctx is done: not while another server gives
// addresses there, and anew when its interface was taken away and is back.
func (d *daemon) serveLink(ctx context.Context, s *dhcp.Server, l *link, found []dhcp.Foreign) error {
	for {
		if !d.alone(ctx, l, found) {
			return l.conn.Close()
		}
		here, gone := context.WithCancel(ctx)
		var by sync.WaitGroup
		by.Go(func() { staysUp(here, gone, l.conn) })
		by.Go(func() { d.lookOut(here, l) })
		err := s.Serve(here, l.conn)
		gone()
		by.Wait()
		if err != nil || ctx.Err() != nil {
			return err
		}
		d.log.Warn("the interface is gone; DHCP is served there again when it is back", "interface", l.Name)
		if !d.reopen(ctx, l) {
			return nil
		}
		d.log.Warn("the interface is back; DHCP is served there again", "interface", l.Name)
		found = d.rivals(ctx, l)
	}
}

// alone waits until nobody else gives addresses on a link, looking again each
// minute; it says whom it waits for once. False: ctx is done.
func (d *daemon) alone(ctx context.Context, l *link, found []dhcp.Foreign) bool {
	var said netip.Addr
	for len(found) > 0 {
		if found[0].Server != said {
			said = found[0].Server
			d.log.Error("DHCP is not served: another server gives addresses there", "interface", l.Name, "server", said, "addr", found[0].Addr)
		}
		if !netboot.Pause(ctx, time.Minute) {
			return false
		}
		if found = d.rivals(ctx, l); len(found) == 0 {
			d.log.Warn("DHCP is served now: the other server is silent", "interface", l.Name, "server", said)
		}
	}
	return ctx.Err() == nil
}

// rivals are the other servers that give addresses on a link; none where we do
// not care.
func (d *daemon) rivals(ctx context.Context, l *link) []dhcp.Foreign {
	if d.dhcp == "force" || l.mode != dhcp.Authoritative {
		return nil
	}
	found, err := dhcp.Probe(ctx, l.Name, foreignWait)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("looking for other DHCP servers", "interface", l.Name, "err", err)
	}
	return slices.DeleteFunc(found, func(f dhcp.Foreign) bool { return f.Proxy || d.fellow(f.Server) })
}

// looks is how long after each other a link is looked at for servers that came
// after us, unless site.dhcpforeigncheck says so.
const looks = 5 * time.Minute

// lookStep is how soon another word of the site's is heeded.
const lookStep = 2 * time.Second

// lookOut looks from time to time for servers that came after us. What machines
// say of such is told as they say it.
func (d *daemon) lookOut(ctx context.Context, l *link) {
	if l.mode != dhcp.Authoritative {
		return
	}
	for last := time.Now(); netboot.Pause(ctx, lookStep); {
		every := looks
		if sec, err := strconv.Atoi(d.db.Snapshot().Site("dhcpforeigncheck")); err == nil {
			every = time.Duration(sec) * time.Second
		}
		if every <= 0 || time.Since(last) < every {
			continue
		}
		found, _ := dhcp.Probe(ctx, l.Name, foreignWait)
		for _, f := range found {
			if !f.Proxy {
				d.foreignSeen(f)
			}
		}
		last = time.Now()
	}
}

// foreignSeen notes another server; false: it is one of ours.
func (d *daemon) foreignSeen(f dhcp.Foreign) bool {
	if d.fellow(f.Server) {
		return false
	}
	d.service.Foreign(provision.Foreign{Interface: f.Interface, Server: f.Server, Addr: f.Addr})
	return true
}

// fellow says whether an address is ours, or that of a server which shares our
// table.
func (d *daemon) fellow(a netip.Addr) bool {
	return slices.ContainsFunc(d.local(), func(p netip.Prefix) bool { return p.Addr() == a }) ||
		provision.Fellow(d.db.Snapshot(), a)
}

// staysUp returns, and says so by gone, when a conn's interface is not there any
// more, or when ctx is done.
func staysUp(ctx context.Context, gone func(), c *dhcp.Conn) {
	defer gone()
	for missed := 0; missed < 2; {
		if !netboot.Pause(ctx, time.Second) {
			return
		}
		if missed++; !c.Stale() {
			missed = 0
		}
	}
}

// reopen listens on a link again when its interface is there again. False: ctx
// is done.
func (d *daemon) reopen(ctx context.Context, l *link) bool {
	for {
		conn, err := dhcp.ListenInterface(ctx, l.Name, l.mode)
		if err == nil {
			l.conn = conn
			return true
		}
		if !netboot.Pause(ctx, time.Second) {
			return false
		}
	}
}

// advertiseNone tells machines on a link that there is no IPv6 router, anew when
// the interface was taken away and is back.
func (d *daemon) advertiseNone(ctx context.Context, l *link) error {
	for begun := false; ; begun = true {
		here, gone := context.WithCancel(ctx)
		var by sync.WaitGroup
		by.Go(func() { sameInterface(here, gone, l.Name) })
		err := dhcp.AdvertiseNone(here, l.Name)
		gone()
		by.Wait()
		if err != nil && !begun {
			return err
		}
		if !netboot.Pause(ctx, time.Second) {
			return nil
		}
	}
}

// sameInterface returns, and says so by gone, when a name is another interface's
// or nobody's, or when ctx is done.
func sameInterface(ctx context.Context, gone func(), name string) {
	defer gone()
	first, err := net.InterfaceByName(name)
	for err == nil && netboot.Pause(ctx, time.Second) {
		var now *net.Interface
		if now, err = net.InterfaceByName(name); err == nil && now.Index != first.Index {
			return
		}
	}
}

func (d *daemon) dhcpServer() *dhcp.Server {
	s := &dhcp.Server{Planner: d.service, Observer: d.service, Holder: d.service, Log: d.log, Foreign: d.foreignSeen}
	d.servers.mu.Lock()
	defer d.servers.mu.Unlock()
	d.servers.dhcp = append(d.servers.dhcp, s)
	return s
}

// arpWait is how long a network is given to say that an address is taken.
const arpWait = 300 * time.Millisecond

// inUse asks a network who has an address; nil: nobody says so.
func (d *daemon) inUse(ctx context.Context, ifname string, addr netip.Addr) net.HardwareAddr {
	mac, err := dhcp.InUse(ctx, ifname, addr, arpWait)
	if err != nil {
		d.log.Debug("asking whether an address is in use", "addr", addr, "err", err)
	}
	return mac
}

// ping asks an address behind a relay whether it is there.
func (d *daemon) ping(ctx context.Context, addr netip.Addr) bool {
	there, err := dhcp.Ping(ctx, addr, arpWait)
	if err != nil {
		d.log.Debug("asking whether an address is in use", "addr", addr, "err", err)
	}
	return there
}

// foreign is what margay doctor asks: who else gives addresses on an
// interface.
func (d *daemon) foreign(ctx context.Context, ifname string) ([]command.ForeignDHCP, error) {
	found, err := dhcp.Probe(ctx, ifname, foreignWait)
	var out []command.ForeignDHCP
	for _, f := range found {
		if d.fellow(f.Server) {
			continue
		}
		out = append(out, command.ForeignDHCP{Interface: f.Interface, Addr: f.Addr, Server: f.Server, Proxy: f.Proxy})
	}
	return out, err
}

// leftToOthers are the interfaces that are served, but not by DHCP.
func (d *daemon) leftToOthers() (names []string) {
	for _, i := range d.served {
		if !slices.ContainsFunc(d.links, func(l *link) bool { return l.Name == i.Name }) {
			names = append(names, i.Name)
		}
	}
	return names
}

// dhcpLine is a link's line among those that serve prints.
func (l *link) line(found []dhcp.Foreign) string {
	var addrs []string
	for _, p := range l.Prefixes {
		addrs = append(addrs, p.String())
	}
	text := l.Name + " " + strings.Join(addrs, " ")
	if l.mode == dhcp.Proxy {
		text += ", proxy: boot files only"
	}
	if len(found) > 0 {
		text += fmt.Sprintf("; NOT SERVED: %s gives addresses there. Stop it, or use --interface %s=proxy, or --dhcp force", found[0].Server, l.Name)
	}
	return text
}
