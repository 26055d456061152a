package command

import (
	"context"
	"strings"

	"github.com/spf13/pflag"

	"margay/provision"
)

var rinstallCmd = &Command{
	Name:  "rinstall",
	Usage: "noderange [osimage[=image] | install | netboot | boot] [-c] [--yes]",
	Short: "install nodes now: nodeset, boot from the network, power cycle",
	Long: `Install nodes now. What nodeset is told (osimage, the one in provmethod, if left
out), then rsetboot net and rpower boot, for the nodes that nodeset made ready;
the others are left running, each with its error.

  -c   then show the console of the node, if it is one`,
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("console", "c", false, "show the console of a single node")
		f.StringP("osimage", "O", "", "the osimage")
		f.BoolP("uefimode", "u", false, "accepted for xCAT's sake: the firmware is asked how it boots")
		f.BoolP("verbose", "V", false, "say more")
		f.Bool("ignorekernelchk", false, "accepted for xCAT's sake")
		yesFlag(f)
	},
	Run: rinstall,
}

func rinstall(ctx context.Context, s *Session, args []string) error {
	nodes, words, err := s.Nodes(s.DB.Snapshot(), args)
	if err != nil {
		return err
	}
	word := "osimage"
	if image := s.String("osimage"); image != "" {
		words = append(words, "osimage="+image)
	}
	if len(words) > 1 {
		return Usagef("%q is not wanted", words[1:])
	}
	if len(words) == 1 {
		word = words[0]
	}
	if len(nodes) > 1 && s.Bool("console") {
		return Usagef("-c wants one node")
	}
	act, err := provision.ParseAction(word)
	if err != nil {
		return err
	}
	if err := s.Confirm(len(nodes), "install nodes now"); err != nil {
		return err
	}
	results, err := s.Service.Nodeset(ctx, names(nodes), act)
	if err != nil {
		return err
	}
	var ready []string
	for _, r := range results {
		if r.Err != nil {
			s.NodeError(r.Node, r.Err)
			continue
		}
		s.Node(r.Node, "%s", r.State)
		ready = append(ready, r.Node)
	}
	if len(ready) == 0 {
		return nil
	}
	list := strings.Join(ready, ",")
	s.inner(ctx, "rsetboot", list, "net")
	s.inner(ctx, "rpower", list, "boot", "--yes")
	if s.Bool("console") {
		s.inner(ctx, "rcons", list)
	}
	return nil
}
