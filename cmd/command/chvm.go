package command

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"margay/vm"
)

var chvmCmd = &Command{
	Name:  "chvm",
	Usage: "noderange [-a size] [-d disk] [-p disk] [--resize disk=[+]size] [--mem [+-]n] [--cpus [+-]n] [--optical iso | --eject] [-o key=value]",
	Short: "change guests",
	Long: `Change guests, all in one step. A disk is named as rinv prints it: "Hard disk
2", 2, or d200:1. IDE disks come and go only while the guest is off.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.StringArrayP("add", "a", nil, "add disks of these sizes; =model behind one if need be")
		f.StringArrayP("detach", "d", nil, "take a disk off and keep its file")
		f.StringArrayP("purge", "p", nil, "take a disk off and delete its file")
		f.StringArray("resize", nil, "make disks larger: disk[,disk]=size or =+size")
		f.String("format", "", "of new disks: thin, zeroedthick or eagerzeroedthick")
		f.String("mem", "", "memory, in M unless a unit is behind it")
		f.String("cpus", "", "number of processors")
		f.StringP("optical", "c", "", "image for the CD drive: nfs://server/path/x.iso, [datastore] x.iso, or a name in the guest's storage")
		f.String("cdrom", "", "the same as --optical")
		f.Bool("eject", false, "take the image out of the CD drive")
		f.StringArrayP("other", "o", nil, "set a key of the guest's configuration: key=value; no value removes it")
		f.StringArray("addnic", nil, "add a network card: network[=model]")
		f.StringArray("rmnic", nil, "remove a network card, by label, number or address")
		f.StringArray("setnic", nil, "move a network card: nic=network[=model]")
		f.StringArray("sched", nil, "claim on the host: reservation, limit, shares, memreservation, memlimit, memshares, latency=value")
		f.String("hotadd", "", "on or off: whether memory and processors can be added while it runs")
		f.String("serial", "", "on or off: a serial port that is logged and that rcons opens; the guest is off for it")
		seedFlags(f)
		f.Bool("dry-run", false, "say what would be done")
	},
	Run: chvm,
}

func chvm(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, rest, err := s.guests(snap, args, "nodehm.mgt")
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	req := vm.ChangeRequest{
		Add: s.Strings("add"), Detach: s.Strings("detach"), Purge: s.Strings("purge"), Resize: s.Strings("resize"), Format: s.String("format"),
		CPUs: s.String("cpus"), Memory: s.String("mem"), Optical: s.String("optical"), Eject: s.Bool("eject"), Other: s.Strings("other"),
		AddNIC: s.Strings("addnic"), RemoveNIC: s.Strings("rmnic"), SetNIC: s.Strings("setnic"), Scheduler: s.Strings("sched"), HotAdd: s.String("hotadd"), Serial: s.String("serial"),
	}
	if s.Serial != nil {
		req.SerialProxy = s.Serial.Proxy
	}
	if req.Optical == "" {
		req.Optical = s.String("cdrom")
	}
	if req.Optical != "" && req.Eject {
		return Usagef("either --optical or --eject")
	}
	s.noteMemory(req.Memory)
	seeds, err := s.seeder()
	if err != nil {
		return err
	}
	if seeds != nil && (req.Optical != "" || req.Eject) {
		return Usagef("--seed wants the CD drive; leave --optical and --eject out")
	}
	emit, flush := s.emit(ctx)
	made := newSuccess(emit)
	s.Guests.Change(ctx, snap, nodes, req, s.Bool("dry-run"), made.emit)
	if seeds != nil && !s.Bool("dry-run") {
		err = s.seedAll(ctx, made.of(nodes), seeds)
	}
	return errors.Join(err, flush())
}

// noteMemory says that an amount of memory is not taken as it was typed.
func (s *Session) noteMemory(typed string) {
	if note := vm.RoundedMemory(typed); note != "" {
		s.Warn("%s", note)
	}
}
