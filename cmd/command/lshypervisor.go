package command

import "context"

var lshypervisorCmd = &Command{
	Name:  "lshypervisor",
	Usage: "noderange",
	Short: "show what hosts are, have and let one do",
	Group: GroupGuest,
	Run:   lshypervisor,
}

func lshypervisor(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	hosts, rest, err := s.hypervisors(snap, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	emit, flush := s.emit(ctx)
	s.Guests.Show(ctx, snap, hosts, emit)
	return flush()
}
