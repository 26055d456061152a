package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"margay/cmd/command"
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
		if mode == dhcp.Off {
			continue
		}
		conn, err := dhcp.ListenInterface(ctx, i.Name, mode)
		if err != nil {
			return portError("DHCP", "udp", ":67", "--dhcp", err)
		}
		d.links = append(d.links, &link{Interface: i, mode: mode, conn: conn})
	}
	// A socket that is bound to an interface hears nothing from this host
	// itself: margay probe asks here.
	var err error
	d.probeConn, err = dhcp.ListenAddr(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	return err
}

// others looks for other DHCP servers on the links that are to be served with
// authority, on all at once.
func (d *daemon) others(ctx context.Context) map[string][]dhcp.Foreign {
	type answer struct {
		name  string
		found []dhcp.Foreign
	}
	answers := make(chan answer)
	n := 0
	for _, l := range d.links {
		if d.dhcp == "force" || l.mode != dhcp.Authoritative {
			continue
		}
		n++
		go func() {
			found, err := dhcp.Probe(ctx, l.Name, foreignWait)
			if err != nil {
				d.log.Warn("looking for other DHCP servers", "interface", l.Name, "err", err)
			}
			answers <- answer{l.Name, found}
		}()
	}
	out := map[string][]dhcp.Foreign{}
	for range n {
		a := <-answers
		found := slices.DeleteFunc(a.found, func(f dhcp.Foreign) bool { return f.Proxy })
		if len(found) > 0 {
			out[a.name] = found
		}
	}
	return out
}

// serveLink serves one link until ctx is done. While another server gives
// addresses there it waits, and looks again each minute.
func (d *daemon) serveLink(ctx context.Context, s *dhcp.Server, l *link, found []dhcp.Foreign) error {
	for len(found) > 0 {
		d.log.Error("DHCP is not served: another server gives addresses there", "interface", l.Name, "server", found[0].Server, "addr", found[0].Addr)
		select {
		case <-ctx.Done():
			return l.conn.Close()
		case <-time.After(time.Minute):
		}
		var err error
		if found, err = dhcp.Probe(ctx, l.Name, foreignWait); err != nil {
			d.log.Warn("looking for other DHCP servers", "interface", l.Name, "err", err)
		}
		found = slices.DeleteFunc(found, func(f dhcp.Foreign) bool { return f.Proxy })
	}
	return s.Serve(ctx, l.conn)
}

func (d *daemon) dhcpServer() *dhcp.Server {
	s := &dhcp.Server{Planner: d.service, Observer: d.service, Holder: d.service, Log: d.log}
	d.servers.mu.Lock()
	defer d.servers.mu.Unlock()
	d.servers.dhcp = append(d.servers.dhcp, s)
	return s
}

// arpWait is how long a network is given to say that an address is taken.
const arpWait = 300 * time.Millisecond

// inUse asks a network whether an address is taken.
func (d *daemon) inUse(ctx context.Context, ifname string, addr netip.Addr) bool {
	mac, err := dhcp.InUse(ctx, ifname, addr, arpWait)
	if err != nil {
		d.log.Debug("asking whether an address is in use", "addr", addr, "err", err)
	}
	return mac != nil
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
func foreign(ctx context.Context, ifname string) ([]command.ForeignDHCP, error) {
	found, err := dhcp.Probe(ctx, ifname, foreignWait)
	var out []command.ForeignDHCP
	for _, f := range found {
		out = append(out, command.ForeignDHCP{Interface: f.Interface, Server: f.Server, Proxy: f.Proxy})
	}
	return out, err
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
