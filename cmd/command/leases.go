package command

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/provision"
)

var leasesCmd = &Command{
	Name:  "leases",
	Usage: "[--all] [mac|address]...",
	Short: "list the leases of dynamic ranges",
	Long: `List the leases of dynamic ranges: address, MAC, until when, and the name that
the machine gave. Addresses that a machine found in use are among them. What
nodes are given is not leased to them; makedhcp -q shows it.`,
	Group:    GroupNetwork,
	Flags:    func(f *pflag.FlagSet) { f.Bool("all", false, "past ones too") },
	Complete: leaseWords,
	Run: func(_ context.Context, s *Session, args []string) error {
		wanted, err := leasesNamed(args)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, l := range provision.Leases(s.DB.Snapshot()) {
			if len(wanted) > 0 && !matches(l, wanted...) || !s.Bool("all") && now.After(l.Expires) {
				continue
			}
			state := "until " + l.Expires.Format("2006-01-02 15:04:05")
			switch {
			case now.After(l.Expires):
				state = "past, " + state
			case l.Bad:
				state = "found in use, left alone " + state
			}
			s.Line("%s", strings.TrimRight(fmt.Sprintf("%-15s %s %s %s", l.Addr, cmp.Or(l.MAC, "-"), state, l.Name), " "))
		}
		return nil
	},
}

var releaseCmd = &Command{
	Name:     "release",
	Usage:    "mac|address...",
	Short:    "forget leases, so that their addresses are free at once",
	Group:    GroupNetwork,
	Complete: leaseWords,
	Run: func(ctx context.Context, s *Session, args []string) error {
		if len(args) == 0 {
			return Usagef("a MAC or an address is wanted")
		}
		wanted, err := leasesNamed(args)
		if err != nil {
			return err
		}
		all := provision.Leases(s.DB.Snapshot())
		for i, w := range wanted {
			if !slices.ContainsFunc(all, func(l provision.Lease) bool { return matches(l, w) }) {
				return fmt.Errorf("no lease of %s; see margay leases --all", args[i])
			}
		}
		var addrs []netip.Addr
		for _, l := range all {
			if matches(l, wanted...) {
				addrs = append(addrs, l.Addr)
			}
		}
		if err := s.Service.Release(ctx, addrs); err != nil {
			return err
		}
		if len(addrs) == 1 {
			s.Line("1 lease released")
			return nil
		}
		s.Line("%d leases released", len(addrs))
		return nil
	},
}

// leasesNamed reads MACs and addresses, and gives each as a lease has it.
func leasesNamed(words []string) ([]string, error) {
	var out []string
	for _, w := range words {
		if a, err := netip.ParseAddr(w); err == nil {
			out = append(out, a.String())
			continue
		}
		mac, err := net.ParseMAC(w)
		if err != nil {
			return nil, Usagef("%q is neither a MAC nor an address", w)
		}
		out = append(out, mac.String())
	}
	return out, nil
}

// matches says whether a lease is one of those named.
func matches(l provision.Lease, wanted ...string) bool {
	return slices.Contains(wanted, l.MAC) || slices.Contains(wanted, l.Addr.String())
}

// leaseWords are the addresses that machines have.
func leaseWords(s *Session, _ []string, _ string) []string {
	var out []string
	for _, l := range provision.Leases(s.DB.Snapshot()) {
		out = append(out, l.Addr.String())
	}
	return out
}
