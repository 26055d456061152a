package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/ssh"
)

var makeknownhostsCmd = &Command{
	Name:  "makeknownhosts",
	Usage: "noderange [-r] [-V]",
	Short: "take the SSH host keys that nodes show now, or forget them",
	Long: `Take the SSH host keys that nodes show now for the right ones, which psh, xdsh
and xdcp then insist on. They do the same by themselves when they see a node
for the first time, and after it was installed by margay.

  -r   forget the keys
  -V   print them, as ssh-keygen -l does`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("remove", "r", false, "forget the keys")
		f.BoolP("verbose", "V", false, "print the keys")
		f.StringP("node-options", "o", "", "options for ssh")
	},
	Run: makeknownhosts,
}

func makeknownhosts(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if len(words) > 0 {
		return Usagef("%q is not wanted after the noderange", words[0])
	}
	l, err := s.fleet(snap, "DSH_FANOUT")
	if err != nil {
		return err
	}
	l.each(ctx, nodes, func(ctx context.Context, n *nodedb.Node) (int, error) {
		if s.Bool("remove") {
			return 0, provision.KeepHostKey(ctx, s.DB, n.Name, "")
		}
		t, err := l.target(ctx, n)
		if err != nil {
			return 0, err
		}
		fp, err := ssh.HostKey(ctx, t.Addr)
		if err != nil {
			return 0, err
		}
		return 0, provision.KeepHostKey(ctx, s.DB, n.Name, fp)
	}, func(n *nodedb.Node, _ int, err error) {
		if err != nil {
			s.NodeError(n.Name, err)
			return
		}
		if s.Bool("verbose") && !s.Bool("remove") {
			s.Node(n.Name, "%s", provision.HostKey(s.DB.Snapshot(), n.Name))
		}
	})
	return nil
}
