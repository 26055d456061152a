package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision/bmc"
	"margay/provision/ping"
	"margay/vm"
)

var nodestatCmd = &Command{
	Name:  "nodestat",
	Usage: "noderange [-u] [-p]",
	Short: "say which nodes answer, and what listens on them",
	Long: `Say what answers on each node's address: sshd (port 22), https (443) and esxi
(902), separated by commas. A machine that has none of them, and answers, if only
to ping, shows what nodeset has it do, or ping; one that does not answer at all shows noping.

  -u   write it to the nodes' appstatus, and alive or unreachable to status
  -p   and whether those that do not answer are switched on, as rpower stat has
       it: noping(on)`,
	Group: GroupTable,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("updatedb", "u", false, "write it to the table")
		f.BoolP("powerstat", "p", false, "power of those that do not answer")
		f.BoolP("usefping", "f", false, "")
		f.BoolP("usemon", "m", false, "")
		f.MarkHidden("usefping")
		f.MarkHidden("usemon")
	},
	Run: nodestat,
}

// statPorts are what is looked for, by what it is called.
var statPorts = []struct {
	name string
	port int
}{{"sshd", 22}, {"https", 443}, {"esxi", 902}}

// How many nodes are asked at once, and how long an answer may take.
const (
	statFanout = 64
	statWait   = 2 * time.Second
)

// A nodeStat is what was found of a node.
type nodeStat struct {
	node  *nodedb.Node
	addr  netip.Addr
	apps  []string
	alive bool
	err   error
}

// pingDead asks once more, by ping, those that answered on no port: a firewall
// may drop what is not for it.
func pingDead(ctx context.Context, stats []nodeStat) {
	where := map[netip.Addr][]int{}
	var dead []netip.Addr
	for i, st := range stats {
		if a := st.addr.Unmap(); a.IsValid() && !st.alive && st.err == nil {
			dead = append(dead, a)
			where[a] = append(where[a], i)
		}
	}
	for a, up := range (ping.Sweep{Wait: statWait}).All(ctx, dead) {
		for _, i := range where[a] {
			stats[i].alive = up
		}
	}
}

func nodestat(ctx context.Context, s *Session, args []string) error {
	nodes, rest, err := s.Nodes(s.DB.Snapshot(), args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("one noderange")
	}
	stats := askAll(ctx, nodes)
	pingDead(ctx, stats)
	power := s.powerOfDead(ctx, stats)
	for _, st := range stats {
		if st.err != nil {
			s.NodeError(st.node.Name, st.err)
			continue
		}
		text := st.text()
		if state := power[st.node.Name]; state != "" && !st.alive {
			text += "(" + state + ")"
		}
		s.Node(st.node.Name, "%s", text)
	}
	if !s.Bool("updatedb") {
		return nil
	}
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		for _, st := range stats {
			st.write(tx)
		}
		return nil
	})
}

// powerOfDead returns, with -p, whether the nodes that do not answer are on, as
// their hardware or their hypervisor says.
func (s *Session) powerOfDead(ctx context.Context, stats []nodeStat) map[string]string {
	var dead []*nodedb.Node
	for _, st := range stats {
		if st.err == nil && !st.alive {
			dead = append(dead, st.node)
		}
	}
	if !s.Bool("powerstat") || len(dead) == 0 {
		return nil
	}
	power := make(map[string]string)
	var mu sync.Mutex // guards power
	set := func(node, state string) {
		mu.Lock()
		defer mu.Unlock()
		power[node] = state
	}
	snap := s.DB.Snapshot()
	c := s.control(snap, dead, byPower)
	metal(ctx, s, snap, c.metal, func(ctx context.Context, t bmc.Target, c bmc.Controller) (string, error) {
		return bmc.Power(ctx, c, bmc.Stat, t.Settle)
	}, func(t bmc.Target, state string) { set(t.Node, state) })
	if len(c.guests) > 0 && s.Guests != nil {
		word, _ := vm.ParsePowerWord("stat")
		s.Guests.Power(ctx, snap, c.guests, vm.PowerRequest{Word: word}, func(r vm.Result) {
			if r.Err != nil {
				s.NodeError(r.Node, r.Err)
				return
			}
			set(r.Node, r.Text)
		})
	}
	return power
}

// askAll asks many nodes at once and returns the answers in order.
func askAll(ctx context.Context, nodes []*nodedb.Node) []nodeStat {
	stats := make([]nodeStat, len(nodes))
	turns := make(chan struct{}, statFanout)
	var wg sync.WaitGroup
	for i, n := range nodes {
		turns <- struct{}{}
		wg.Go(func() {
			stats[i] = ask(ctx, n)
			<-turns
		})
	}
	wg.Wait()
	return stats
}

// ask tries the ports of one node. A refused connection is an answer too.
func ask(ctx context.Context, n *nodedb.Node) nodeStat {
	st := nodeStat{node: n}
	addr, err := statAddr(ctx, n)
	if err != nil {
		st.err = fmt.Errorf("Please make sure %s exists in /etc/hosts, or has an address: chdef %s ip=ADDRESS", n.Name, n.Name)
		return st
	}
	st.addr, _ = netip.ParseAddr(addr)
	ctx, cancel := context.WithTimeout(ctx, statWait)
	defer cancel()
	answers := make([]error, len(statPorts))
	var wg sync.WaitGroup
	for i, p := range statPorts {
		wg.Go(func() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(addr, strconv.Itoa(p.port)))
			if answers[i] = err; err == nil {
				conn.Close()
			}
		})
	}
	wg.Wait()
	for i, err := range answers {
		if err == nil {
			st.apps = append(st.apps, statPorts[i].name)
		}
		st.alive = st.alive || err == nil || errors.Is(err, syscall.ECONNREFUSED)
	}
	return st
}

// statAddr is a node's address in the table, or what its name resolves to.
func statAddr(ctx context.Context, n *nodedb.Node) (string, error) {
	if n.Addr.IsValid() {
		return n.Addr.String(), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n.Name)
	if err != nil || len(addrs) == 0 {
		return "", errors.New("no ip; set one with chdef " + n.Name + " ip=ADDRESS")
	}
	return netip.Addr.Unmap(addrs[0]).String(), nil
}

func (st nodeStat) text() string {
	switch {
	case len(st.apps) > 0:
		return strings.Join(st.apps, ",")
	case !st.alive:
		return "noping"
	case st.node.Mode.Loads():
		return st.node.CurrState
	}
	return "ping"
}

// write puts what was found into the table.
func (st nodeStat) write(tx *nodedb.Tx) {
	k := nodedb.Key{Kind: nodedb.KindNode, Name: st.node.Name}
	if _, there := tx.Get(k); !there || st.err != nil {
		return
	}
	status := "unreachable"
	if st.alive {
		status = "alive"
	}
	now := time.Now().Format("01-02-2006 15:04:05")
	tx.Set(k, "nodelist.status", status)
	tx.Set(k, "nodelist.statustime", now)
	tx.Set(k, "nodelist.appstatus", strings.Join(st.apps, ","))
	tx.Set(k, "nodelist.appstatustime", now)
}

// inner runs another command for this one; its lines go to the same client.
func (s *Session) inner(ctx context.Context, args ...string) {
	req := *s.Req
	req.Args = args
	sub := &Session{Deps: s.Deps, Req: &req, Conn: s.Conn, root: s.root}
	root := s.root(sub, args)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil && ctx.Err() == nil {
		s.Error("%s", err)
	}
	if sub.failed.Load() {
		s.Fail()
	}
}
