package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
)

var mkhypervisorCmd = &Command{
	Name:  "mkhypervisor",
	Usage: "noderange [--trust fingerprint] [--dry-run]",
	Short: "take on hosts that run ESXi, whoever installed them",
	Long: `Take on hosts that run ESXi, whoever installed them. The first certificate
that a host shows is the one that is trusted from then on; --trust puts
another in its place. A host whose hostmanager is a vCenter joins that. A
host that prodkey has a licence key for gets that licence.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.String("trust", "", "fingerprint of the certificate or the ssh key to trust")
		f.Bool("vcenter", false, "with --trust: it is that of the host's vCenter")
		dryRunFlag(f)
	},
	Run: mkhypervisor,
}

func mkhypervisor(ctx context.Context, s *Session, args []string) error {
	if s.Guests == nil {
		return errors.New("this daemon manages no guests")
	}
	hosts, rest, err := s.Nodes(s.DB.Snapshot(), args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	if fp := s.String("trust"); fp != "" {
		if s.Bool("dry-run") {
			return Usagef("either --trust, which is done at once, or --dry-run")
		}
		if len(hosts) != 1 {
			return errors.New("--trust is for one host: no two have the same certificate")
		}
		if err := trustHost(ctx, s, hosts[0], fp); err != nil {
			return err
		}
	}
	emit, flush := s.emit(ctx)
	s.Guests.Adopt(ctx, s.DB.Snapshot(), hosts, s.Bool("dry-run"), emit)
	return flush()
}

// trustHost pins a fingerprint: of an ssh key if it looks like one, else of a
// certificate.
func trustHost(ctx context.Context, s *Session, host *nodedb.Node, fp string) error {
	snap := s.DB.Snapshot()
	e, err := vm.HostEndpoint(snap, host.Name)
	if s.Bool("vcenter") {
		if !vm.HasVCenter(host) {
			return fmt.Errorf("%s has no vCenter; set hostmanager", host.Name)
		}
		e, err = vm.VCenterEndpoint(snap, host.HostManager)
	}
	if err != nil {
		return err
	}
	column := vm.TrustCert
	if strings.HasPrefix(fp, "SHA256:") {
		column = vm.TrustSSH
	}
	s.Guests.Forget(e)
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: vm.KindTrust, Name: e.Addr()}, column, fp)
		return nil
	})
}
