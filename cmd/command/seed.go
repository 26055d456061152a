package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/vm"
	"margay/vm/seed"
)

// seedFlags are those of commands that make seeds.
func seedFlags(f *pflag.FlagSet) {
	f.String("seed", "", "insert a disc for cloud-init, with the name, keys and network of the table: dhcp or static")
	f.Lookup("seed").NoOptDefVal = "dhcp"
	f.String("user-data", "", "with --seed: this file in place of the user data that would be made")
}

// seeder makes discs as the flags say; nil if none are wanted.
func (s *Session) seeder() (vm.Seeder, error) {
	how, file := s.String("seed"), s.String("user-data")
	switch {
	case how == "" && file == "":
		return nil, nil
	case how == "":
		how = "dhcp"
	case how != "dhcp" && how != "static":
		return nil, Usagef("--seed=%s: dhcp or static is wanted", how)
	}
	var data []byte
	if file != "" {
		var err error
		if data, err = os.ReadFile(s.Path(file)); err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(data, []byte("#")) && !bytes.HasPrefix(data, []byte("Content-Type:")) {
			return nil, fmt.Errorf("%s: cloud-init knows user data by their first line, as #cloud-config or #!/bin/sh", file)
		}
	}
	snap := s.DB.Snapshot()
	return func(n *nodedb.Node) ([]byte, error) {
		g, err := seedGuest(snap, n, how == "static")
		if err != nil {
			return nil, err
		}
		disc, err := seed.New(g)
		if err != nil {
			return nil, err
		}
		if data != nil {
			disc.UserData = data
		}
		var b bytes.Buffer
		err = disc.Write(&b)
		return b.Bytes(), err
	}, nil
}

// seedGuest is what the table says of a guest.
func seedGuest(snap *nodedb.Snapshot, n *nodedb.Node, static bool) (seed.Guest, error) {
	g := seed.Guest{Name: n.Name, Domain: snap.Site("domain"), InstanceID: n.Attr("vpd.uuid")}
	network := (*nodedb.Network)(nil)
	if n.Addr.IsValid() {
		network = snap.NetworkOf(n.Addr)
	}
	if network != nil && network.Domain != "" {
		g.Domain = network.Domain
	}
	for _, k := range strings.FieldsFunc(snap.Site("sshkeys"), func(r rune) bool { return r == '|' || r == '\n' }) {
		g.Keys = append(g.Keys, strings.TrimSpace(k))
	}
	b := &provision.Boot{Snap: snap, Node: n, Token: g.InstanceID, OS: n.OS}
	hash, err := b.PasswordHash("system", "root", func(h string) bool { return strings.HasPrefix(h, "$") })
	if err != nil && !errors.Is(err, nodedb.ErrNotFound) {
		return g, err
	}
	g.Password = hash
	for i, m := range n.MACs {
		card := seed.NIC{MAC: m.Addr.String()}
		if i == 0 && static {
			if card, err = staticCard(card, snap, n, network); err != nil {
				return g, err
			}
		}
		g.NICs = append(g.NICs, card)
	}
	return g, nil
}

// staticCard gives a card its node's address and its network's servers.
func staticCard(card seed.NIC, snap *nodedb.Snapshot, n *nodedb.Node, network *nodedb.Network) (seed.NIC, error) {
	if network == nil {
		return card, fmt.Errorf("--seed=static wants an address of one of the networks; %s has %v", n.Name, n.Addr)
	}
	own := func(s string) string {
		if s == nodedb.Master {
			return snap.Site("master")
		}
		return s
	}
	card.Addr = netip.PrefixFrom(n.Addr, network.Prefix.Bits())
	if a, err := netip.ParseAddr(own(network.Gateway)); err == nil {
		card.Router = a
	}
	servers := network.Nameservers
	if len(servers) == 0 {
		servers = strings.Split(snap.Site("nameservers"), ",")
	}
	for _, s := range servers {
		if a, err := netip.ParseAddr(own(strings.TrimSpace(s))); err == nil {
			card.DNS = append(card.DNS, a)
		}
	}
	if network.Domain != "" {
		card.Search = []string{network.Domain}
	}
	return card, nil
}

// seedAll makes the discs of nodes and inserts them.
func (s *Session) seedAll(ctx context.Context, nodes []*nodedb.Node, make vm.Seeder) error {
	emit, flush := s.emit(ctx)
	s.Guests.Seed(ctx, s.DB.Snapshot(), nodes, make, emit)
	return flush()
}
