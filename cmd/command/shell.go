package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/bmc"
	"margay/provision/ssh"
	"margay/vm"
)

// Shell is how the daemon logs in to nodes.
type Shell struct {
	Keys   []ssh.Key
	Public string // line for authorized_keys
}

// The defaults of commands for many nodes' shells.
const (
	shellFanout = 64
	shellDial   = 10 * time.Second
)

// A fleet is many nodes that are logged in to at a time.
type fleet struct {
	s       *Session
	snap    *nodedb.Snapshot
	user    string // empty: root, or the one that the table has for hosts
	iface   string // the interface, as in node-ib0
	port    string
	fanout  int
	quiet   bool          // what nodes print is thrown away
	whole   bool          // a node's lines stay together
	timeout time.Duration // of silence; zero: none
	dial    time.Duration
	pass    string // in place of the table's
	trust   bool   // a changed host key is taken
}

// fleetFlags are the flags that psh, xdsh and xdcp share.
func fleetFlags(f *pflag.FlagSet) {
	f.IntP("fanout", "f", 0, "how many nodes at a time (64)")
	f.StringP("user", "l", "", "log in as this user (root)")
	f.IntP("timeout", "t", 0, "give a node up after this many seconds of silence")
}

// fleet reads the flags; fan is the environment variable that -f may come from.
func (s *Session) fleet(snap *nodedb.Snapshot, fan string) (*fleet, error) {
	if s.Shell == nil {
		return nil, errors.New("this daemon logs in to no nodes")
	}
	l := &fleet{s: s, snap: snap, user: s.String("user"), port: "22", fanout: shellFanout, dial: shellDial}
	for _, v := range []struct {
		name string
		text string
		to   func(int)
	}{
		{fan, s.Req.Env[fan], func(n int) { l.fanout = n }},
		{"-f", s.flagText("fanout"), func(n int) { l.fanout = n }},
		{"DSH_TIMEOUT", s.Req.Env["DSH_TIMEOUT"], func(n int) { l.timeout = time.Duration(n) * time.Second }},
		{"-t", s.flagText("timeout"), func(n int) { l.timeout = time.Duration(n) * time.Second }},
	} {
		if v.text == "" {
			continue
		}
		n, err := strconv.Atoi(v.text)
		if err != nil || n < 1 || n > 10000 {
			return nil, Usagef("%s: %q is not a number from 1 to 10000", v.name, v.text)
		}
		v.to(n)
	}
	o := s.flagText("node-options")
	if o == "" {
		o = s.Req.Env["DSH_NODE_OPTS"]
	}
	return l, l.options(o)
}

// flagText is a flag as it was given, or "".
func (s *Session) flagText(name string) string {
	if f := s.Flags.Lookup(name); f != nil && f.Changed {
		return f.Value.String()
	}
	return ""
}

// options reads what xdsh and xdcp have under -o, or $DSH_NODE_OPTS: those of ssh's options that
// mean something to us.
func (l *fleet) options(text string) error {
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		w := strings.TrimPrefix(words[i], "-o")
		switch {
		case words[i] == "-p" && i+1 < len(words):
			i++
			w = "Port=" + words[i]
		case w == "" && i+1 < len(words):
			i++
			w = words[i]
		}
		name, value, _ := strings.Cut(w, "=")
		n, err := strconv.ParseUint(value, 10, 16)
		switch {
		case strings.EqualFold(name, "Port") && err == nil && n > 0:
			l.port = value
		case strings.EqualFold(name, "ConnectTimeout") && err == nil && n > 0:
			l.dial = time.Duration(n) * time.Second
		case strings.EqualFold(name, "BatchMode"): // which we always are
		default:
			return Usagef("-o: the built-in client knows -p PORT, Port= and ConnectTimeout=, not %q", words[i])
		}
	}
	return nil
}

// target is how a node is logged in to.
func (l *fleet) target(ctx context.Context, n *nodedb.Node) (ssh.Target, error) {
	addr, err := nodeAddr(ctx, n, l.iface)
	if err != nil {
		return ssh.Target{}, err
	}
	t := ssh.Target{Addr: net.JoinHostPort(addr, l.port), Keys: l.s.Shell.Keys, Timeout: l.dial}
	t.User, t.Password = login(l.snap, n, l.user)
	if l.pass != "" {
		t.Password = l.pass
	}
	t.Check = func(ctx context.Context, fp string) error {
		if l.trust {
			return provision.KeepHostKey(ctx, l.s.DB, n.Name, fp)
		}
		return provision.CheckHostKey(ctx, l.s.DB, n.Name, fp)
	}
	return t, nil
}

// login is who logs in to a node, and with which password if our key is not
// let in: for hosts as in table vm, key=vmware; for others the passwd row
// system. A password that the table has as a hash alone is of no use here.
func login(snap *nodedb.Snapshot, n *nodedb.Node, user string) (string, string) {
	if isHost(snap, n) {
		if e, err := vm.HostEndpoint(snap, n.Name); err == nil && (user == "" || user == e.User) {
			return e.User, inClear(e.Password)
		}
	}
	if user == "" {
		user = "root"
	}
	row, err := snap.Password("system", user)
	if err != nil || row.User != user {
		return user, ""
	}
	return user, inClear(row.Secret)
}

func inClear(secret string) string {
	if strings.HasPrefix(secret, "$") && strings.Count(secret, "$") >= 3 {
		return ""
	}
	return secret
}

// isHost says whether a node is an ESXi host.
func isHost(snap *nodedb.Snapshot, n *nodedb.Node) bool {
	return strings.HasPrefix(n.Attr("nodetype.os"), "esx") || n.Attr("vm.hosttype") == "esx" || n.Attr("hypervisor.type") == "esx"
}

// nodeAddr is a node's address, or that of one of its interfaces: as
// nics.nicips or hosts.otherinterfaces have it, else what node-interface
// resolves to.
func nodeAddr(ctx context.Context, n *nodedb.Node, iface string) (string, error) {
	if iface == "" {
		return statAddr(ctx, n)
	}
	for _, item := range strings.Split(n.Attr("nics.nicips"), ",") {
		name, ips, _ := strings.Cut(strings.TrimSpace(item), "!")
		ip, _, _ := strings.Cut(ips, "|")
		if a, err := netip.ParseAddr(ip); name == iface && err == nil {
			return a.String(), nil
		}
	}
	host := n.Name + "-" + iface
	for _, item := range strings.FieldsFunc(n.Attr("hosts.otherinterfaces"), func(r rune) bool { return r == ',' || r == ' ' }) {
		name, ip, _ := strings.Cut(item, ":")
		if a, err := netip.ParseAddr(ip); err == nil && (name == "-"+iface || name == host) {
			return a.String(), nil
		}
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return "", fmt.Errorf("no address of %s; set one with chdef %s nicips.%s=ADDRESS", host, n.Name, iface)
	}
	return netip.Addr.Unmap(addrs[0]).String(), nil
}

// each does fn for every node, a fanout of them at a time, and hands what came
// of each to done, one at a time.
func (l *fleet) each(ctx context.Context, nodes []*nodedb.Node, fn func(context.Context, *nodedb.Node) (int, error), done func(*nodedb.Node, int, error)) {
	limits := bmc.Limits{Busy: l.fanout, Budget: 1 << 62}
	for r := range bmc.Each(ctx, limits, nodes, fn) {
		done(r.Target, r.Value, r.Err)
	}
}

// run runs a command on a node and prints its lines as the node's.
func (l *fleet) run(ctx context.Context, n *nodedb.Node, line string, stdin []byte) (int, error) {
	t, err := l.target(ctx, n)
	if err != nil {
		return 0, err
	}
	c, err := ssh.Dial(ctx, t)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, alive, stop := l.watched(ctx)
	defer stop()
	out := &nodeOutput{s: l.s, node: n.Name, quiet: l.quiet, whole: l.whole, alive: alive}
	defer out.end()
	cmd := ssh.Command{Line: line, Stdout: out.stream(false), Stderr: out.stream(true)}
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	return c.Run(ctx, cmd)
}

// watched is a context that ends when alive was not called for the timeout.
func (l *fleet) watched(ctx context.Context) (_ context.Context, alive, stop func()) {
	if l.timeout == 0 {
		return ctx, func() {}, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(l.timeout, func() { cancel(fmt.Errorf("no output for %v: given up", l.timeout)) })
	return ctx, func() { t.Reset(l.timeout) }, func() {
		t.Stop()
		cancel(nil)
	}
}

// A nodeOutput prints what a node says, line by line, each whole.
type nodeOutput struct {
	s     *Session
	node  string
	quiet bool
	whole bool // keep lines until the end, as far as there is room
	alive func()

	mu   sync.Mutex // guards what follows
	kept []nodeLine
	size int
	part [2][]byte // an unfinished line of each stream
}

type nodeLine struct {
	err  bool
	text string
}

const (
	keptSize = 1 << 20 // then the lines come as they are said
	lineSize = 64 << 10
)

type streamWriter func([]byte)

func (w streamWriter) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func (o *nodeOutput) stream(stderr bool) streamWriter {
	i := 0
	if stderr {
		i = 1
	}
	return func(p []byte) {
		o.alive()
		o.mu.Lock()
		defer o.mu.Unlock()
		for len(p) > 0 {
			end := bytes.IndexByte(p, '\n')
			if end < 0 {
				end = len(p)
			}
			o.part[i] = append(o.part[i], p[:end]...)
			if end < len(p) || len(o.part[i]) >= lineSize {
				o.line(i)
			}
			p = p[min(end+1, len(p)):]
		}
	}
}

// line ends the unfinished line of a stream.
func (o *nodeOutput) line(i int) {
	l := nodeLine{i == 1, strings.TrimSuffix(string(o.part[i]), "\r")}
	o.part[i] = o.part[i][:0]
	if o.quiet {
		return
	}
	o.size += len(l.text)
	o.kept = append(o.kept, l)
	if !o.whole || o.size > keptSize {
		o.print()
	}
}

func (o *nodeOutput) print() {
	for _, l := range o.kept {
		if l.err {
			o.s.NodeErrLine(o.node, l.text)
			continue
		}
		o.s.Node(o.node, "%s", l.text)
	}
	o.kept = nil
}

// end prints what is left.
func (o *nodeOutput) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.part {
		if len(o.part[i]) > 0 {
			o.line(i)
		}
	}
	o.print()
}
