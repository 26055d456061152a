package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"margay/cmd/command"
	"margay/netboot/cert"
	"margay/netboot/dhcp"
	"margay/netboot/dns"
	"margay/netboot/httpd"
	"margay/netboot/loader"
	"margay/netboot/monitor"
	"margay/netboot/tftp"
	"margay/nodedb"
	"margay/provision"
	"margay/provision/api"
	"margay/provision/esxi"
	"margay/provision/fetch"
	"margay/provision/linux"
	"margay/provision/media"
	"margay/provision/ssh"
	"margay/templates"
)

// settings are the flags of serve; all else is in the site table.
type settings struct {
	state      string
	store      string
	interfaces []string
	dhcp       string
	http       string
	https      string
	tftp       string
	dns        string
	monitor    string
	socket     string
	templates  string
	hooks      string
	verbose    bool
	logFormat  string
	advertise  bool
}

func (c *cli) serveCommand() *command.Command {
	var set settings
	return &command.Command{
		Name:  "serve",
		Usage: "[--state dir] [--store url] [--interface if]... [--dhcp on|force|off] [--http :80] [--https :443] [--tftp :69] [--dns :53] [--monitor off] [--socket path]",
		Short: "run the daemon: DHCP, TFTP, DNS, HTTP and the commands' socket",
		Long: `Run the daemon: DHCP, TFTP, DNS and HTTP for the nodes, and the socket that
commands talk to. Everything it keeps is in the state directory.

Port 0 takes a free port and says which. "off" in place of an address leaves a
service out. DHCP answers the machines of the node table, and others only where
their network has a dynamic range. Before it serves an interface it looks for
another server there, and leaves the interface to that one unless --dhcp is
force; with --interface eth1=proxy it tells machines what to boot beside it. With
an address in place of "on" it listens there, for relay agents only.

With --https it makes an authority of its own, and certificates for its names
and addresses, in the state directory's tls/ and renews them. What is sent by
HTTPS, and to whom, site httpmethod and esxi.httpmethod say; firmware must be told
of the authority first: /tls/ca.crt on the HTTP port.`,
		Group: command.GroupMargay,
		Flags: func(f *pflag.FlagSet) { set.flags(f) },
		Local: func(ctx context.Context, _ *pflag.FlagSet, args []string) error {
			if len(args) > 0 {
				return command.Usagef("%q is not wanted", args[0])
			}
			set.socket = c.socket
			return serve(ctx, set, c.stdout, c.stderr)
		},
	}
}

func (set *settings) flags(f *pflag.FlagSet) {
	f.StringVar(&set.state, "state", "/var/lib/margay", "directory for table, install trees and keys")
	f.StringVar(&set.store, "store", "", "etcd://h1:2379,h2:2379/prefix to share the table (default: margay.db in the state directory)")
	f.StringArrayVar(&set.interfaces, "interface", nil, "interface to serve, with =proxy or =off for DHCP there; may be given again (default: all with an IPv4 address)")
	f.StringVar(&set.dhcp, "dhcp", "on", "on, force, off, or the address and port to listen on for relays")
	f.BoolVar(&set.advertise, "no-ipv6-router", false, "tell machines that there is no IPv6 router: iPXE waits 16 seconds less")
	f.StringVar(&set.http, "http", ":80", "address and port for HTTP")
	f.StringVar(&set.https, "https", "off", "address and port for HTTPS")
	f.StringVar(&set.tftp, "tftp", ":69", "address and port for TFTP")
	f.StringVar(&set.dns, "dns", ":53", "address and port for DNS")
	f.StringVar(&set.monitor, "monitor", "off", "address and port for the install monitor of xCAT's old postscripts, as :3002")
	f.StringVar(&set.templates, "templates", "/etc/margay/templates", "directory of the operator's own templates")
	f.StringVar(&set.hooks, "hooks", "/etc/margay/hooks", "directory of programs that run before, after or instead of what commands do")
	f.BoolVar(&set.verbose, "verbose", false, "log each step")
	f.StringVar(&set.logFormat, "log-format", "text", "text, or json: an object a line")
}

// serve runs the daemon until ctx is done or a service fails.
func serve(ctx context.Context, set settings, out, logTo io.Writer) error {
	log, err := set.logger(logTo)
	if err != nil {
		return err
	}
	d := &daemon{settings: set, log: log}
	defer d.close()
	if err := d.open(ctx); err != nil {
		return err
	}
	return d.run(ctx, out)
}

// logger writes a line for each thing to be told: what a human should look at,
// what was refused, and with --verbose each step of a machine.
func (set *settings) logger(to io.Writer) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: slog.LevelWarn}
	if set.verbose {
		opts.Level = slog.LevelInfo
	}
	switch set.logFormat {
	case "", "text":
		return slog.New(slog.NewTextHandler(to, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(to, opts)), nil
	}
	return nil, fmt.Errorf("--log-format %s: not text or json", set.logFormat)
}

// A daemon is all that serve wires together.
type daemon struct {
	settings
	log *slog.Logger

	db      *nodedb.DB
	names   []string // of interfaces, as --interface has them
	served  []provision.Interface
	new     []string // networks that the first start defined
	service *provision.Service
	sets    *templates.Set

	addrs     addresses
	links     []*link
	modes     map[string]dhcp.Mode // of DHCP, by interface
	probeConn *dhcp.Conn           // for relays; for margay probe, on loopback
	servers   servers
	tftpConn  net.PacketConn
	httpL     net.Listener
	httpsL    net.Listener
	authority *cert.Authority // nil without HTTPS
	certs     *cert.Server
	dnsConn   *dns.Conn
	monitorL  net.Listener
	socketL   net.Listener
}

// open takes everything that can fail before the first request is answered.
func (d *daemon) open(ctx context.Context) error {
	var err error
	if d.state, err = filepath.Abs(d.state); err != nil {
		return err
	}
	if err := os.MkdirAll(d.state, 0o755); err != nil {
		return fmt.Errorf("state directory: %v; give another with --state", err)
	}
	if d.socketL, err = api.Listen(d.socket); err != nil {
		return err
	}
	if err := d.openTable(ctx); err != nil {
		return err
	}
	if d.dhcp != "off" || len(d.interfaces) > 0 {
		if d.names, d.modes, err = interfaceModes(d.interfaces); err != nil {
			return err
		}
		if d.served, err = provision.Interfaces(d.names...); err != nil {
			return err
		}
	}
	_, key, err := ssh.LoadKey(d.sshKey())
	if err != nil {
		return err
	}
	if d.new, err = provision.Setup(ctx, d.db, d.state, d.served, key); err != nil {
		return err
	}
	if d.store != "" {
		if err := provision.Announce(ctx, d.db, d.served); err != nil {
			return err
		}
	}
	if err := d.listen(ctx); err != nil {
		return err
	}
	d.wire()
	return nil
}

// listen takes the ports.
func (d *daemon) listen(ctx context.Context) error {
	var err error
	if err = d.listenDHCP(ctx); err != nil {
		return err
	}
	if d.tftp != "off" {
		if d.tftpConn, err = net.ListenPacket("udp4", d.tftp); err != nil {
			return portError("TFTP", "udp", d.tftp, "--tftp", err)
		}
	}
	if d.http != "off" {
		if d.httpL, err = net.Listen("tcp4", d.http); err != nil {
			return portError("HTTP", "tcp", d.http, "--http", err)
		}
	}
	if d.monitor != "off" {
		if d.monitorL, err = net.Listen("tcp4", d.monitor); err != nil {
			return portError("the install monitor", "tcp", d.monitor, "--monitor", err)
		}
	}
	if d.https != "off" {
		if err := d.listenTLS(); err != nil {
			return err
		}
	}
	if d.dns != "off" {
		if d.dnsConn, err = dns.Listen(ctx, d.dns); err != nil {
			return portError("DNS", "udp", d.dns, "--dns", err)
		}
	}
	return nil
}

// wire makes the service that decides, from the parts that it may not name.
func (d *daemon) wire() {
	d.sets = templates.New(d.templates)
	d.service = provision.NewService(provision.Config{
		DB:       d.db,
		State:    d.state,
		Families: []provision.Family{esxi.New(d.sets), linux.New(d.sets), linux.NewWork(d.sets)},
		Loaders:  loader.FS(),
		Medium:   openMedium,
		Spool:    &fetch.Fetcher{Dir: filepath.Join(d.state, "fetch")},
		HTTPPort: port(d.httpL),
		TLSPort:  port(d.httpsL),
		TFTPPort: packetPort(d.tftpConn),
		Log:      d.log,
		Local:    d.local,
		LocalOn:  d.localOn,
		InUse:    d.inUse,
		Ping:     d.ping,
		Neighbor: neighbor,
		Reach:    reach,
		Issue:    d.issue,
	})
	d.service.CleanPartial()
}

func openMedium(path string) (provision.MediumFile, error) {
	img, err := media.Open(path)
	if err != nil {
		return nil, err
	}
	return img, nil
}

func port(l net.Listener) int {
	if l == nil {
		return 0
	}
	return l.Addr().(*net.TCPAddr).Port
}

func packetPort(c net.PacketConn) int {
	if c == nil {
		return 0
	}
	return c.LocalAddr().(*net.UDPAddr).Port
}

// run serves until ctx is done; the first service that fails ends the others.
// "ready" is said when all that is to be served is.
func (d *daemon) run(ctx context.Context, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return tune(ctx) })
	g.Go(func() error { return d.service.Run(ctx) })
	if d.probeConn != nil {
		s := d.dhcpServer()
		g.Go(func() error { return s.Serve(ctx, d.probeConn) })
	}
	if d.advertise {
		for _, l := range d.links {
			g.Go(func() error { return d.advertiseNone(ctx, l) })
		}
	}
	if d.tftpConn != nil {
		s := &tftp.Server{Opener: d.service, Observer: d.servers.counted(d.service), Log: d.log}
		d.servers.tftp = s
		g.Go(func() error { return s.Serve(ctx, d.tftpConn) })
	}
	if d.dnsConn != nil {
		s := d.dnsServer()
		d.servers.dns = s
		g.Go(func() error { return s.Serve(ctx, d.dnsConn) })
		g.Go(func() error { return d.notifyDNS(ctx, s) })
	}
	if d.monitorL != nil {
		s := &monitor.Server{Handler: d.service, Observer: d.service, Log: d.log}
		g.Go(func() error { return s.Serve(ctx, d.monitorL) })
	}
	if d.httpL != nil || d.httpsL != nil {
		s := &httpd.Server{
			Opener: d.service, Receiver: d.service, Observer: d.servers.counted(d.service), Log: d.log,
			Sends: 64, Fallback: d.pages(), Prefixes: []string{"boot", "install", "discover", "tftpboot"},
		}
		d.servers.http = s
		if d.httpL != nil {
			g.Go(func() error { return s.Serve(ctx, d.httpL) })
		}
		if d.httpsL != nil {
			g.Go(func() error { return s.Serve(ctx, tls.NewListener(d.httpsL, d.certs.Config())) })
			g.Go(func() error { return d.certs.Run(ctx) })
		}
	}
	deps := &command.Deps{DB: d.db, Service: d.service, Log: d.log, Version: version, Store: storeName(d.storeText()), Stop: stop, Ports: d.ports(), Served: d.servedNow, Others: d.leftToOthers(), Foreign: d.foreign, Outside: d.outside, Holders: portHolders}
	for _, l := range d.links {
		if l.mode == dhcp.Proxy {
			deps.Proxied = append(deps.Proxied, l.Name)
		}
	}
	if d.authority != nil {
		deps.Authority, deps.Certificate = d.authority.Certificate(), d.certificate
	}
	guests, err := d.guests(d.log)
	if err != nil {
		return err
	}
	defer guests.Close()
	deps.Guests = guests
	deps.Hardware = hardware(d.db, filepath.Join(d.state, "consoles"))
	defer deps.Hardware.Consoles.Close()
	lines := newSerialLines(ctx, d.db, filepath.Join(d.state, "consoles"), d.log)
	defer lines.Close()
	deps.Serial = lines
	if deps.Shell, err = d.shell(); err != nil {
		return err
	}
	deps.Backup, deps.Hooks = d.backup, d.hooks
	deps.Audit = command.NewAudit(d.db, d.log)
	defer d.audit(ctx, deps.Audit)()
	s := &api.Server{Run: deps.Run, Looks: command.Looks, Denied: deps.Denied, Log: d.log}
	g.Go(func() error { return s.Serve(ctx, d.socketL) })
	found := d.others(ctx)
	for _, l := range d.links {
		s := d.dhcpServer()
		g.Go(func() error { return d.serveLink(ctx, s, l, found[l.Name]) })
	}
	d.say(out, found)
	return g.Wait()
}

// audit starts the writing of the auditlog; end has what is left written and
// waits for that, when commands have ended.
func (d *daemon) audit(ctx context.Context, a *command.Audit) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// pages are what HTTP answers to others than machines. All but installs' own
// files is refused; metrics hold no secret.
func (d *daemon) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", api.Metrics(d.samples))
	if d.authority != nil {
		d.authorityPages(mux)
	}
	return mux
}

// ports are where the services listen, for commands that play a machine.
func (d *daemon) ports() command.Ports {
	p := command.Ports{HTTP: port(d.httpL), HTTPS: port(d.httpsL), TFTP: packetPort(d.tftpConn), Links: len(d.links) > 0}
	if d.probeConn != nil {
		p.DHCP = d.probeConn.Addr()
	}
	if d.dnsConn != nil {
		p.DNS = int(d.dnsConn.Addr().Port())
	}
	return p
}

// say tells what is served, in a few lines.
func (d *daemon) say(out io.Writer, found map[string][]dhcp.Foreign) {
	fmt.Fprintf(out, "margay %s: %d nodes, state in %s\n", version, len(d.db.Snapshot().Nodes()), d.state)
	for _, name := range d.new {
		fmt.Fprintf(out, "  defined network %s\n", name)
	}
	for _, l := range d.links {
		fmt.Fprintf(out, "  dhcp   %s\n", l.line(found[l.Name]))
	}
	if len(d.links) == 0 && d.probeConn != nil {
		fmt.Fprintf(out, "  dhcp   %s\n", d.probeConn.Addr())
	}
	for _, l := range []struct {
		name string
		on   bool
		addr func() any
	}{
		{"tftp", d.tftpConn != nil, func() any { return d.tftpConn.LocalAddr() }},
		{"http", d.httpL != nil, func() any { return d.httpL.Addr() }},
		{"https", d.httpsL != nil, func() any {
			return fmt.Sprintf("%s, authority SHA-256 %s", d.httpsL.Addr(), d.authority.Fingerprint())
		}},
		{"dns", d.dnsConn != nil, func() any { return d.dnsConn.Addr() }},
		{"monitor", d.monitorL != nil, func() any { return d.monitorL.Addr() }},
		{"socket", true, func() any { return d.socketL.Addr() }},
	} {
		if l.on {
			fmt.Fprintf(out, "  %-6s %s\n", l.name, l.addr())
		}
	}
	fmt.Fprintln(out, "ready")
}

// close gives back what open took. Services close their own conns; closing
// again is harmless.
func (d *daemon) close() {
	for _, l := range d.links {
		l.conn.Close()
	}
	if d.probeConn != nil {
		d.probeConn.Close()
	}
	for _, c := range []io.Closer{d.tftpConn, d.httpL, d.httpsL, d.monitorL, d.socketL} {
		if c != nil {
			c.Close()
		}
	}
	if d.dnsConn != nil {
		d.dnsConn.Close()
	}
	if d.db != nil {
		if err := d.db.Close(); err != nil {
			d.log.Error("the table did not close", "err", err)
		}
	}
}
