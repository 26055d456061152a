package command

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/provision"
)

var leasesCmd = &Command{
	Name:  "leases",
	Usage: "[--all] [mac|address]...",
	Short: "list the leases of dynamic ranges",
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) { f.Bool("all", false, "past ones too") },
	Complete: func(*Session, []string, string) []string {
		return nil
	},
	Run: func(_ context.Context, s *Session, args []string) error {
		now := time.Now()
		for _, l := range provision.Leases(s.DB.Snapshot()) {
			if !matches(l, args) || !s.Bool("all") && now.After(l.Expires) {
				continue
			}
			state := "until " + l.Expires.Format("2006-01-02 15:04:05")
			switch {
			case now.After(l.Expires):
				state = "past, " + state
			case l.Bad:
				state = "found in use, left alone " + state
			}
			s.Line("%s", strings.TrimRight(fmt.Sprintf("%-15s %s %s %s", l.Addr, l.MAC, state, l.Name), " "))
		}
		return nil
	},
}

var releaseCmd = &Command{
	Name:     "release",
	Usage:    "mac|address...",
	Short:    "forget leases, so that their addresses are free at once",
	Group:    GroupNetwork,
	Complete: func(*Session, []string, string) []string { return nil },
	Run: func(ctx context.Context, s *Session, args []string) error {
		if len(args) == 0 {
			return Usagef("a MAC or an address is wanted")
		}
		var addrs []netip.Addr
		for _, l := range provision.Leases(s.DB.Snapshot()) {
			if matches(l, args) {
				addrs = append(addrs, l.Addr)
			}
		}
		if len(addrs) == 0 {
			return fmt.Errorf("no lease of %s; see margay leases --all", strings.Join(args, ", "))
		}
		if err := s.Service.Release(ctx, addrs); err != nil {
			return err
		}
		s.Line("%d leases released", len(addrs))
		return nil
	},
}

// matches says whether a lease is one of those named; none named is all.
func matches(l provision.Lease, words []string) bool {
	for _, w := range words {
		if strings.EqualFold(w, l.MAC) || w == l.Addr.String() {
			return true
		}
	}
	return len(words) == 0
}
