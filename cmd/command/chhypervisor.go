package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
)

var chhypervisorCmd = &Command{
	Name:  "chhypervisor",
	Usage: "noderange -m | -o | -s | --addvlan network | --removevlan network | --vmotion card|network|off | --license | --reconnect [--dry-run]",
	Short: "take hosts in and out of maintenance, change their networks and licences, connect them to their vCenter again",
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("maintenance", "m", false, "enter maintenance mode")
		f.BoolP("online", "o", false, "leave maintenance mode")
		f.BoolP("show", "s", false, "say which")
		f.String("addvlan", "", "make a network, named as in vmnics")
		f.String("removevlan", "", "remove a network")
		f.String("vmotion", "", "the card of the host's kernel that guests move over: vmk1, the network that it is on, or off")
		f.Bool("license", false, "give them the licence that prodkey has for them: chdef productkey")
		f.Bool("reconnect", false, "have the vCenter connect to it again, with its account and certificate as they are now")
		dryRunFlag(f)
	},
	Run: chhypervisor,
}

func chhypervisor(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	hosts, rest, err := s.hypervisors(snap, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	asked := 0
	for _, on := range []bool{s.Bool("maintenance"), s.Bool("online"), s.Bool("show"), s.String("addvlan") != "", s.String("removevlan") != "", s.String("vmotion") != "", s.Bool("license"), s.Bool("reconnect")} {
		if on {
			asked++
		}
	}
	if asked > 1 {
		return Usagef("one of -m, -o, -s, --addvlan, --removevlan, --vmotion, --license and --reconnect at a time")
	}
	dry := s.Bool("dry-run")
	emit, flush := s.emit(ctx)
	switch {
	case s.Bool("maintenance"):
		s.Guests.Hosts(ctx, snap, hosts, vm.EnterMaintenance(), dry, emit)
	case s.Bool("online"):
		s.Guests.Hosts(ctx, snap, hosts, vm.ExitMaintenance(), dry, emit)
	case s.Bool("show"):
		s.Guests.Hosts(ctx, snap, hosts, vm.ShowMaintenance(), dry, emit)
	case s.String("addvlan") != "":
		s.Guests.VLAN(ctx, snap, hosts, s.String("addvlan"), true, dry, emit)
	case s.String("removevlan") != "":
		s.Guests.VLAN(ctx, snap, hosts, s.String("removevlan"), false, dry, emit)
	case s.String("vmotion") != "":
		s.Guests.Hosts(ctx, snap, hosts, vm.SelectVMotion(s.String("vmotion")), dry, emit)
	case s.Bool("license"):
		s.Guests.License(ctx, snap, hosts, dry, emit)
	case s.Bool("reconnect"):
		s.Guests.Reconnect(ctx, snap, hosts, dry, emit)
	default:
		return Usagef("say what to do")
	}
	return flush()
}

// dryRunFlag is --dry-run of what is done to hosts.
func dryRunFlag(f *pflag.FlagSet) { f.Bool("dry-run", false, "say what would be done, and do nothing") }

// eachHost does one operation on the hosts of a noderange.
func eachHost(ctx context.Context, s *Session, args []string, op vm.HostOp) error {
	snap := s.DB.Snapshot()
	hosts, rest, err := s.hypervisors(snap, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	return onHosts(ctx, s, snap, hosts, op)
}

func onHosts(ctx context.Context, s *Session, snap *nodedb.Snapshot, hosts []*nodedb.Node, op vm.HostOp) error {
	emit, flush := s.emit(ctx)
	s.Guests.Hosts(ctx, snap, hosts, op, s.Bool("dry-run"), emit)
	return flush()
}
