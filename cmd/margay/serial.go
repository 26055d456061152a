package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"margay/nodedb"
	"margay/provision/bmc"
	"margay/vm"
	"margay/vm/vspc"
)

// A serialLines takes the serial lines of guests, logs them, and has them
// watched. Its port is open once a guest has such a line, not before.
type serialLines struct {
	db       *nodedb.DB
	log      *slog.Logger
	consoles *bmc.Consoles

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // the daemon's, for what begins later
	l     net.Listener    // guarded by mu, as all below
	slots map[string]*slot
	hosts map[netip.Addr]bool // who may connect
	asked time.Time           // when hosts was made
}

// A slot is where one guest's line is put.
type slot struct {
	next chan *serialLine // has room for one
	now  *serialLine
}

// A serialLine is a line until it is closed.
type serialLine struct {
	io.ReadWriteCloser
	once sync.Once
	done chan struct{}
}

func (l *serialLine) Close() error {
	err := l.ReadWriteCloser.Close()
	l.once.Do(func() { close(l.done) })
	return err
}

func newSerialLines(ctx context.Context, db *nodedb.DB, dir string, log *slog.Logger) *serialLines {
	s := &serialLines{db: db, log: log, ctx: ctx, slots: map[string]*slot{}}
	s.consoles = &bmc.Consoles{Dir: dir, Open: s.open}
	for _, n := range db.Snapshot().Nodes() {
		if n.Attr("vm.textconsole") != vm.SerialConsole {
			continue
		}
		if _, err := s.listen(); err != nil {
			log.Warn("guests' serial lines", "err", err)
		}
		break
	}
	return s
}

// Close ends all lines; the listener ends with the daemon's context.
func (s *serialLines) Close() { s.consoles.Close() }

// listen opens the port, unless that is done.
func (s *serialLines) listen() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.l == nil {
		port := vspc.DefaultPort
		if v := s.db.Snapshot().Site("vspcport"); v != "" {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil {
				return 0, fmt.Errorf("site.vspcport %q: not a port", v)
			}
			port = int(n)
		}
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return 0, fmt.Errorf("guests' serial lines: %v; name another port with site.vspcport", err)
		}
		s.l = l
		srv := &vspc.Server{Allow: s.allow, Line: s.line, Log: s.log}
		go func() {
			if err := srv.Serve(s.ctx, l); err != nil {
				s.log.Error("guests' serial lines", "err", err)
			}
		}()
	}
	return s.l.Addr().(*net.TCPAddr).Port, nil
}

// Proxy is the address at which a host finds us.
func (s *serialLines) Proxy(host string) (string, error) {
	port, err := s.listen()
	if err != nil {
		return "", err
	}
	c, err := net.Dial("udp", net.JoinHostPort(host, "9")) // sends nothing: it asks for the way
	if err != nil {
		return "", fmt.Errorf("no way to host %s: %v", host, err)
	}
	defer c.Close()
	addr := c.LocalAddr().(*net.UDPAddr).IP.String()
	return "telnet://" + net.JoinHostPort(addr, strconv.Itoa(port)), nil
}

// Attach joins a guest's serial line.
func (s *serialLines) Attach(ctx context.Context, node string) (io.ReadWriteCloser, error) {
	s.mu.Lock()
	seen := s.slots[node] != nil
	s.mu.Unlock()
	if !seen {
		n, err := s.db.Snapshot().Node(node)
		if err != nil {
			return nil, err
		}
		if n.Attr("vm.textconsole") != vm.SerialConsole {
			return nil, fmt.Errorf("it has no serial port that ends here; chvm %s --serial on, while it is off", node)
		}
		return nil, errors.New("its host has not connected its serial port yet; is the guest on?")
	}
	return s.consoles.Attach(ctx, node)
}

// hostsAge is how long a list of hosts is good.
const hostsAge = 2 * time.Second

// allow lets hosts in that the table knows to run guests.
func (s *serialLines) allow(addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hosts[addr] && time.Since(s.asked) > hostsAge {
		s.hosts, s.asked = hostAddrs(s.db.Snapshot()), time.Now()
	}
	return s.hosts[addr]
}

// hostAddrs are the addresses of all hosts: of nodes that are hypervisors or
// have guests.
func hostAddrs(snap *nodedb.Snapshot) map[netip.Addr]bool {
	names := map[string]bool{}
	for _, n := range snap.Nodes() {
		if n.VMHost != "" {
			names[n.VMHost] = true
		}
		if n.HostType == "esx" {
			names[n.Name] = true
		}
	}
	out := map[netip.Addr]bool{}
	for name := range names {
		e, err := vm.HostEndpoint(snap, name)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(e.Host); err == nil {
			out[a.Unmap()] = true
		}
		if n, err := snap.Node(name); err == nil && n.Addr.IsValid() {
			out[n.Addr.Unmap()] = true
		}
	}
	return out
}

// node is the guest that a line is of: by the name that its host gives it, or
// by the one that we gave its port.
func (s *serialLines) node(g vspc.Guest) string {
	snap := s.db.Snapshot()
	for _, name := range []string{g.Name, g.URI} {
		if n, err := snap.Node(name); err == nil && n.Mgt == "esx" {
			return n.Name
		}
	}
	return ""
}

// line takes a guest's line, in place of the one that it had, and returns
// when it has ended.
func (s *serialLines) line(g vspc.Guest, rwc io.ReadWriteCloser) {
	name := s.node(g)
	if name == "" {
		s.log.Warn("a serial line of a guest that is no node", "guest", g.Name, "host", g.Host)
		return
	}
	l := &serialLine{ReadWriteCloser: rwc, done: make(chan struct{})}
	s.mu.Lock()
	sl := s.slots[name]
	fresh := sl == nil
	if fresh {
		sl = &slot{next: make(chan *serialLine, 1)}
		s.slots[name] = sl
	}
	if sl.now != nil {
		go sl.now.Close()
	}
	select {
	case old := <-sl.next:
		go old.Close()
	default:
	}
	sl.next <- l
	s.mu.Unlock()
	if fresh {
		go s.keep(name)
	}
	<-l.done
}

// keep watches a guest's line for the log's sake, whoever else does.
func (s *serialLines) keep(name string) {
	w, err := s.consoles.Attach(s.ctx, name)
	if err != nil {
		return
	}
	defer context.AfterFunc(s.ctx, func() { _ = w.Close() })()
	_, _ = io.Copy(io.Discard, w)
}

// open waits for a guest's line.
func (s *serialLines) open(ctx context.Context, name string) (io.ReadWriteCloser, error) {
	s.mu.Lock()
	sl := s.slots[name]
	s.mu.Unlock()
	select {
	case l := <-sl.next:
		s.mu.Lock()
		sl.now = l
		s.mu.Unlock()
		return l, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
