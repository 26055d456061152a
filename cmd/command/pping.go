package command

import (
	"context"
	"net/netip"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision/ping"
)

var ppingCmd = &Command{
	Name:  "pping",
	Usage: "noderange [-i interface,...]",
	Short: "say which nodes answer to ping",
	Long: `Say which nodes answer to ping, in the order of their answers: node: ping, or
node: noping. Where we may not send ICMP, connections to ssh, https, http and
ESXi are tried; one that is refused is an answer too.

  -i   at the addresses of these interfaces: node-interface: ping`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.StringP("interface", "i", "", "interfaces, separated by commas")
		f.BoolP("use_fping", "f", false, "")
		f.MarkHidden("use_fping")
	},
	Run: pping,
}

func pping(ctx context.Context, s *Session, args []string) error {
	nodes, words, err := s.Nodes(s.DB.Snapshot(), args)
	if err != nil {
		return err
	}
	if len(words) > 0 {
		return Usagef("%q is not wanted after the noderange", words[0])
	}
	ifaces := []string{""}
	if list := s.String("interface"); list != "" {
		ifaces = strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	}
	for _, iface := range ifaces {
		s.pping(ctx, nodes, iface)
	}
	return ctx.Err()
}

// pping prints which nodes answer at one of their interfaces. A name that has
// no address is not there to be pinged, as in xCAT.
func (s *Session) pping(ctx context.Context, nodes []*nodedb.Node, iface string) {
	addrs := resolveAll(ctx, nodes, iface)
	names := map[netip.Addr][]string{}
	var ask []netip.Addr
	for i, n := range nodes {
		name := n.Name
		if iface != "" {
			name += "-" + iface
		}
		if !addrs[i].IsValid() {
			s.Node(name, "noping")
			continue
		}
		ask = append(ask, addrs[i])
		names[addrs[i]] = append(names[addrs[i]], name)
	}
	for a, up := range (ping.Sweep{}).All(ctx, ask) {
		word := "noping"
		if up {
			word = "ping"
		}
		for _, name := range names[a] {
			s.Node(name, "%s", word)
		}
	}
}

// resolveAll finds the addresses of nodes, many at a time; one that has none
// stays the zero Addr.
func resolveAll(ctx context.Context, nodes []*nodedb.Node, iface string) []netip.Addr {
	addrs := make([]netip.Addr, len(nodes))
	turns := make(chan struct{}, statFanout)
	var wg sync.WaitGroup
	for i, n := range nodes {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			if text, err := nodeAddr(ctx, n, iface); err == nil {
				addrs[i], _ = netip.ParseAddr(text)
			}
		})
	}
	wg.Wait()
	return addrs
}
