package command

import (
	"context"

	"github.com/spf13/pflag"
)

var holdCmd = &Command{
	Name:  "hold",
	Usage: "noderange [--reason text] | noderange --release",
	Short: "keep nodes from beginning an install, or let held ones try again",
	Long: `Keep nodes that are set to install or to boot stateless from doing so: a machine
that boots is told why it is held, and boots from its disk. A node is held by
itself after three boots that began an install and did not end it.

With --release held nodes try again, with what they were set to.`,
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.String("reason", "held by the operator", "why, as the machine's screen shows it")
		f.Bool("release", false, "let held nodes try again")
	},
	Run: hold,
}

func hold(ctx context.Context, s *Session, args []string) error {
	nodes, rest, err := s.Nodes(s.DB.Snapshot(), args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("%q is not wanted after the noderange", rest[0])
	}
	for _, n := range nodes {
		if s.Bool("release") {
			err = s.Service.Unhold(ctx, n.Name)
		} else {
			err = s.Service.Hold(ctx, n.Name, s.String("reason"))
		}
		switch {
		case err != nil:
			s.NodeError(n.Name, err)
		case s.Bool("release"):
			s.Node(n.Name, "%s", n.CurrState)
		default:
			s.Node(n.Name, "held")
		}
	}
	return nil
}
