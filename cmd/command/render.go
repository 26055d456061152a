package command

import (
	"context"

	"github.com/spf13/pflag"
)

var renderCmd = &Command{
	Name:  "render",
	Usage: "node [file] [--firmware bios|uefi|uefi-http|...] [--reveal]",
	Short: "show exactly what a node would be sent: script, boot.cfg, ks.cfg, ...",
	Long: `Show exactly what a node would be sent if it asked now. Without a file, list
the files of its boot. Tokens and password hashes are hidden unless --reveal.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.String("firmware", "", "as if the node booted with bios, uefi, uefi-http, uefi-arm64 or uefi-arm64-http; default: as it last did")
		f.Bool("reveal", false, "show token and password hashes too")
	},
	Run: func(_ context.Context, s *Session, args []string) error {
		if len(args) < 1 || len(args) > 2 {
			return Usagef("a node and at most one file are wanted")
		}
		snap := s.DB.Snapshot()
		n, err := snap.Node(args[0])
		if err != nil {
			return err
		}
		if len(args) == 1 {
			for _, f := range s.Service.Files(snap, n) {
				s.Line("%s", f)
			}
			return nil
		}
		text, err := s.Service.Render(snap, n, args[1], s.String("firmware"), s.Bool("reveal"))
		if err != nil {
			return err
		}
		s.Text(string(text))
		return nil
	},
	Complete: func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return s.completeRange(word)
		}
		snap := s.DB.Snapshot()
		if n, err := snap.Node(args[0]); err == nil {
			return withPrefix(s.Service.Files(snap, n), word)
		}
		return nil
	},
}

var showCmd = &Command{
	Name:  "show",
	Usage: "chain noderange",
	Short: "say which boot programs a node is sent, by its firmware, and why",
	Group: GroupMargay,
	Run: func(_ context.Context, s *Session, args []string) error {
		if len(args) != 2 || args[0] != "chain" {
			return Usagef("show chain and a noderange are wanted")
		}
		snap := s.DB.Snapshot()
		nodes, _, err := s.Nodes(snap, args[1:])
		if err != nil {
			return err
		}
		for _, n := range nodes {
			for _, link := range s.Service.Chain(snap, n) {
				s.Label(n.Name, link.Firmware, "%s", link.Text)
			}
		}
		return nil
	},
	Complete: func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return withPrefix([]string{"chain"}, word)
		}
		return s.completeRange(word)
	},
}
