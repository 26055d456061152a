package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

var pshCmd = &Command{
	Name:  "psh",
	Usage: "[-i interface] [-f fanout] [-l user] [-t seconds] noderange [command]",
	Short: "run a command on many nodes at a time, over SSH",
	Long: `Run a command on many nodes at a time, over SSH, and print what they say line by
line as it comes, each line behind its node's name. Without a command, lines of
standard input are run one after another, until "exit" or its end.

The client is built in and logs in with margay's own key, which nodes get when
they are installed, or with the password that the table has: key=system, for
hosts key=vmware. A node's host key is kept when it is first seen.

Options stand before the noderange; all behind it is the command. The exit
status is the number of nodes where it failed, 255 at most.

  -i interface   at the address of that interface: node-interface
  -f fanout      nodes at a time; else $XCATPSHFANOUT, else 64`,
	Group:    GroupPower,
	Verbatim: true,
	Flags: func(f *pflag.FlagSet) {
		fleetFlags(f)
		f.StringP("interface", "i", "", "the interface to reach nodes at")
		f.BoolP("nonodecheck", "n", false, "accepted for xCAT's sake: the table is at hand")
		f.MarkHidden("nonodecheck")
	},
	Run: psh,
}

func psh(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	l, err := s.fleet(snap, "XCATPSHFANOUT")
	if err != nil {
		return err
	}
	if l.iface = s.String("interface"); l.iface != "" && strings.ContainsAny(l.iface, "/ :") {
		return Usagef("-i: %q is not an interface's name", l.iface)
	}
	if len(words) > 0 {
		s.FailWith(l.psh(ctx, nodes, strings.Join(words, " ")))
		return nil
	}
	failed := 0
	lines := bufio.NewScanner(s.Stdin())
	for s.prompt(); ctx.Err() == nil && lines.Scan(); s.prompt() {
		line := strings.TrimSpace(lines.Text())
		if line == "exit" || line == "quit" {
			break
		}
		if line != "" {
			failed = max(failed, l.psh(ctx, nodes, line))
		}
	}
	s.FailWith(failed)
	return lines.Err()
}

func (s *Session) prompt() {
	if s.Req.TTY {
		s.Text("> ")
		s.Flush()
	}
}

// psh runs a line on all nodes and returns on how many it failed.
func (l *fleet) psh(ctx context.Context, nodes []*nodedb.Node, line string) int {
	failed := 0
	l.each(ctx, nodes, func(ctx context.Context, n *nodedb.Node) (int, error) {
		return l.run(ctx, n, line, nil)
	}, func(n *nodedb.Node, code int, err error) {
		if err == nil && code == 0 {
			return
		}
		failed++
		if err != nil {
			if errors.Is(err, context.Canceled) {
				return
			}
			l.s.NodeErrLine(n.Name, "ssh: "+err.Error())
			code = 255
		}
		l.s.NodeErrLine(n.Name, fmt.Sprintf("*** ssh exited with error code %d.", code))
	})
	return failed
}
