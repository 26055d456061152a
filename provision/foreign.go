package provision

import (
	"context"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"margay/nodedb"
)

// A Foreign is another DHCP server that was met on one of our networks.
type Foreign struct {
	Interface string
	Server    netip.Addr // as it calls itself
	Addr      netip.Addr // where it answers from; zero: only a machine named it
	Last      time.Time  // when it was last met
}

// strangers are the servers that were met.
type strangers struct {
	mu  sync.Mutex
	met []Foreign // guarded by mu
}

// maxStrangers bounds what forged requests can make us remember.
const maxStrangers = 64

// meet notes a server and says whether it is news.
func (s *strangers) meet(f Foreign) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.met = slices.DeleteFunc(s.met, func(old Foreign) bool { return f.Last.Sub(old.Last) >= saidAgain })
	for i := range s.met {
		if old := &s.met[i]; old.Server == f.Server && old.Interface == f.Interface {
			if old.Last = f.Last; f.Addr.IsValid() {
				old.Addr = f.Addr
			}
			return false
		}
	}
	if len(s.met) >= maxStrangers {
		return false
	}
	s.met = append(s.met, f)
	return true
}

// Foreign notes another DHCP server; the log has it once, and again when it was
// away for an hour.
func (s *Service) Foreign(f Foreign) {
	f.Last = s.Now()
	if !s.strangers.meet(f) {
		return
	}
	args := []any{"interface", f.Interface, "server", f.Server}
	if f.Addr.IsValid() {
		args = append(args, "addr", f.Addr)
	}
	s.Log.Warn("another DHCP server gives addresses here; stop it, or serve with --interface "+f.Interface+"=proxy", args...)
}

// Strangers are the other DHCP servers that were met within the last hour.
func (s *Service) Strangers() []Foreign {
	s.strangers.mu.Lock()
	defer s.strangers.mu.Unlock()
	var out []Foreign
	for _, f := range s.strangers.met {
		if s.Now().Sub(f.Last) < saidAgain {
			out = append(out, f)
		}
	}
	return out
}

// kindServer keeps which servers share the table: our own record, named by the
// first of a server's addresses.
const kindServer nodedb.Kind = "margay.server"

// Announce tells the servers that share the table which addresses are ours: what
// they answer is no stranger's.
func Announce(ctx context.Context, db *nodedb.DB, served []Interface) error {
	var own []string
	for _, i := range served {
		for _, p := range i.Prefixes {
			own = append(own, p.Addr().String())
		}
	}
	if len(own) == 0 {
		return nil
	}
	key, text := nodedb.Key{Kind: kindServer, Name: own[0]}, strings.Join(own, ",")
	if r, ok := db.Snapshot().Record(key); ok && r.Attrs["server.addrs"] == text {
		return nil
	}
	return db.Update(ctx, func(tx *nodedb.Tx) error {
		tx.Put(key, map[string]string{"server.addrs": text})
		return nil
	})
}

// Fellow says whether an address is that of a server which shares the table.
func Fellow(snap *nodedb.Snapshot, a netip.Addr) bool {
	for _, r := range snap.Records(kindServer) {
		if slices.Contains(list(r.Attrs["server.addrs"]), a.String()) {
			return true
		}
	}
	return false
}

// DHCPInterfaces are the interfaces on which the site has a host serve DHCP, by
// site.dhcpinterfaces: "eth0,eth1" for every host, "mn|eth0;sn1|eth1" for each
// its own, where mn and xcatmn are the management node; none: it does not say.
func DHCPInterfaces(snap *nodedb.Snapshot, host string) []string {
	var out []string
	for name := range dhcpInterfaces(snap, host) {
		out = append(out, name)
	}
	return out
}

// dhcpInterfaces gives the same with what stands behind an interface's colon.
func dhcpInterfaces(snap *nodedb.Snapshot, host string) iter.Seq2[string, string] {
	return func(yield func(name, mark string) bool) {
		for part := range strings.SplitSeq(snap.Site("dhcpinterfaces"), ";") {
			who, names, named := strings.Cut(strings.TrimSpace(part), "|")
			if !named {
				who, names = "", who
			}
			if who != "" && who != "mn" && who != "xcatmn" && !strings.EqualFold(who, host) {
				continue
			}
			for name := range strings.SplitSeq(names, ",") {
				name, mark, _ := strings.Cut(strings.TrimSpace(name), ":")
				name = strings.TrimPrefix(name, "!remote!")
				if name != "" && !yield(name, mark) {
					return
				}
			}
		}
	}
}

// noBoot says whether machines that are no nodes get nothing to boot on an
// interface: xCAT's eth0:noboot in site.dhcpinterfaces.
func noBoot(snap *nodedb.Snapshot, ifname string) bool {
	if snap.Site("dhcpinterfaces") == "" {
		return false
	}
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	for name, mark := range dhcpInterfaces(snap, host) {
		if name == ifname && mark == "noboot" {
			return true
		}
	}
	return false
}
