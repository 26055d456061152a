package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/vm"
)

var autostartCmd = &Command{
	Name:  "autostart",
	Usage: "noderange on | off | stat [--order n] [--delay seconds] [--others]",
	Short: "say which guests start when their host does",
	Long: `Say which guests start when their host does.

  on        the guest starts with its host; --order says as which, counted from 1
            (without it: after those that have one), --delay how many seconds
            pass before the next is started
  off       it does not
  stat      which

A host starts guests only if that is on for the host itself, which the first
"on" sees to. If other guests are on its list already they would start from then
on too: that is refused unless --others says that it is right.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.Int("order", 0, "on: as which it is started")
		f.Int("delay", 0, "on: seconds before the next is started; -1: as the host has it")
		f.Bool("others", false, "on: guests that the host has on its list already may start too")
	},
	Complete: rangeThen("on", "off", "stat"),
	Run:      autostart,
}

func autostart(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.guests(snap, args, byMgt)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		words = []string{"stat"}
	}
	if len(words) > 1 || words[0] != "on" && words[0] != "off" && words[0] != "stat" {
		return Usagef("one of on, off, stat is wanted after the noderange")
	}
	req := vm.AutostartRequest{Word: words[0], Others: s.Bool("others")}
	number := func(name string, least int) (*int, error) {
		if !s.Flags.Changed(name) {
			return nil, nil
		}
		n, err := s.Flags.GetInt(name)
		if err == nil && n < least {
			err = Usagef("--%s %d: %d or more is wanted", name, n, least)
		}
		return &n, err
	}
	if req.Order, err = number("order", 1); err != nil {
		return err
	}
	if req.Delay, err = number("delay", -1); err != nil {
		return err
	}
	emit, flush := s.emit(ctx)
	s.Guests.Autostart(ctx, snap, nodes, req, emit)
	return flush()
}
