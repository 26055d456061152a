package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/provision"
	"margay/provision/bmc"
)

var rsetbootCmd = &Command{
	Name:  "rsetboot",
	Usage: "noderange [net|hd|cd|floppy|def|setup|http|stat] [-u] [-p]",
	Short: "set what machines boot from next",
	Long: `Set what machines boot from when they start next, or say what is set (stat, the
default). What was set is read back; a machine that does not keep it is told
again, and then said to ignore it.

For guests the words may be a list that stays: rsetboot vm1 net,hd.`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("uefi", "u", false, "boot it the UEFI way")
		f.BoolP("persistent", "p", false, "at every boot, not only the next")
		f.String("uri", "", "http: what to boot, if DHCP is not to say")
		f.Bool("dry-run", false, "print what is set and what would be; set nothing")
	},
	Complete: rangeThen("net", "hd", "cd", "floppy", "def", "setup", "http", "stat"),
	Run:      rsetboot,
}

func rsetboot(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	word := "stat"
	switch len(words) {
	case 0:
	case 1:
		word = words[0]
	default:
		return Usagef("one of net, hd, cd, floppy, def, setup, http, stat is wanted after the noderange")
	}
	c := s.control(snap, nodes, byPower)
	dry := s.Bool("dry-run") && word != "stat"
	if len(c.guests) > 0 {
		if s.Guests == nil {
			s.Error("this daemon manages no guests")
		} else if err := s.GuestSetBoot(ctx, snap, c.guests, word); err != nil {
			s.Error("%s", err)
		}
	}
	if len(c.metal) == 0 {
		return nil
	}
	want := bmc.Boot{UEFI: s.Bool("uefi"), Persistent: s.Bool("persistent"), URI: s.String("uri")}
	if word != "stat" {
		if want.Device, err = bmc.ParseDevice(word); err != nil {
			return err
		}
	}
	type answer struct {
		boot  bmc.Boot
		notes []string
	}
	metal(ctx, s, snap, c.metal, func(ctx context.Context, _ bmc.Target, m bmc.Controller) (answer, error) {
		if word == "stat" || dry {
			b, err := m.Boot(ctx)
			return answer{boot: b}, err
		}
		b, notes, err := bmc.SetBoot(ctx, m, want)
		return answer{b, notes}, err
	}, func(t bmc.Target, a answer) {
		for _, n := range a.notes {
			s.NodeWarn(t.Node, "%s", n)
		}
		if dry {
			s.Node(t.Node, "%s -> %s (not done)", a.boot, want)
			return
		}
		s.Node(t.Node, "%s", a.boot)
		if word != "stat" {
			s.Service.Note(t.Node, provision.StepBootDevice, a.boot.String()+", read back")
		}
	})
	return nil
}
