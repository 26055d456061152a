package command

import (
	"context"
	"errors"
	"io"
	"os"

	"margay/nodedb"
)

var wvidCmd = &Command{
	Name:  "wvid",
	Usage: "noderange",
	Short: "print the way to guests' screens",
	Long: `Print the way to guests' screens: an address for a WebMKS client (VMware's HTML
console), good for one connection within the next minutes. Whoever has it sees
the screen and types; it is printed to you alone and kept nowhere.`,
	Group: GroupGuest,
	Run:   wvid,
}

func wvid(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, rest, err := s.guests(snap, args, byMgt)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	emit, flush := s.emit(ctx)
	s.Guests.Console(ctx, snap, nodes, emit)
	return flush()
}

var screenshotCmd = &Command{
	Name:  "screenshot",
	Usage: "node file",
	Short: "write what a guest's screen shows into a PNG file on the server",
	Group: GroupMargay,
	Run:   screenshot,
}

func screenshot(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, rest, err := s.guests(snap, args, byMgt)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return Usagef("a node and a file are wanted")
	}
	if s.remote() {
		return errors.New("the file is one of the server: run this there")
	}
	if len(nodes) != 1 {
		return oneGuest(nodes)
	}
	png, err := s.Guests.Screenshot(ctx, snap, nodes[0])
	if err != nil {
		s.NodeError(nodes[0].Name, err)
		return nil
	}
	path := s.Path(rest[0])
	if err := writeWhole(path, func(f *os.File) error { _, err := io.Writer(f).Write(png); return err }); err != nil {
		return err
	}
	s.Node(nodes[0].Name, "%d bytes in %s", len(png), path)
	return nil
}

// oneGuest is what a command says that takes one guest; none is left where
// the one that was named is no guest, which has been said already.
func oneGuest(nodes []*nodedb.Node) error {
	if len(nodes) == 0 {
		return nil
	}
	return Usagef("one node is wanted, these are %d", len(nodes))
}
