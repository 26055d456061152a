package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"margay/vm"
	"margay/vm/domxml"
	"margay/vm/vmx"
)

var domxmlCmd = &Command{
	Name:  "domxml",
	Usage: "from-native file.vmx | to-native file.xml | dump noderange",
	Short: "guests' definitions as libvirt's domain XML: from .vmx files, to them, and of guests that there are",
	Long: `Turn a .vmx file into libvirt's domain XML (from-native), domain XML into a .vmx
file (to-native), or print what guests on their hosts are as domain XML (dump).
"-" reads standard input. What the one has no word for is kept in the other:
further keys of a .vmx under metadata, in a name space of margay's own.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.String("hwversion", "", "to-native: hardware version, as 13; the definition's own if empty")
	},
	Complete: func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return withPrefix([]string{"from-native", "to-native", "dump"}, word)
		}
		if args[0] == "dump" {
			return s.completeRange(word)
		}
		return nil
	},
	Run: domxmlRun,
}

func domxmlRun(ctx context.Context, s *Session, args []string) error {
	if len(args) != 2 {
		return Usagef("from-native or to-native and a file, or dump and a noderange, are wanted")
	}
	switch args[0] {
	case "dump":
		return domxmlDump(ctx, s, args[1])
	case "from-native", "to-native":
	default:
		return Usagef("%q: one of from-native, to-native, dump is wanted", args[0])
	}
	in, err := readInput(s, args[1])
	if err != nil {
		return err
	}
	var out []byte
	var spec *vm.Spec
	if args[0] == "from-native" {
		if spec, err = (vmx.Codec{}).Decode(in); err == nil {
			out, err = domxml.Encode(spec)
		}
	} else if spec, err = domxml.Decode(in); err == nil {
		if v := s.String("hwversion"); v != "" {
			spec.Version = fmt.Sprintf("vmx-%02s", strings.TrimPrefix(v, "vmx-"))
		}
		out, err = vmx.Codec{}.Encode(spec)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	s.Text(string(out))
	return nil
}

// maxDefinition bounds a definition; real ones have some kilobytes.
const maxDefinition = 1 << 20

func readInput(s *Session, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(s.Stdin(), maxDefinition))
	}
	f, err := os.Open(s.Path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDefinition))
}

func domxmlDump(ctx context.Context, s *Session, noderange string) error {
	snap := s.DB.Snapshot()
	nodes, _, err := s.guests(snap, []string{noderange}, "nodehm.mgt")
	if err != nil {
		return err
	}
	for _, n := range nodes {
		spec, err := s.Guests.SpecOf(ctx, snap, n)
		if err == nil {
			var out []byte
			if out, err = domxml.Encode(spec); err == nil {
				s.Text(string(out))
			}
		}
		if err != nil {
			s.NodeError(n.Name, err)
		}
	}
	return nil
}
