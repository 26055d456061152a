package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/bmc"
)

var rpowerCmd = &Command{
	Name:  "rpower",
	Usage: "noderange on|off|softoff|reset|boot|cycle|stat|state|status|nmi|suspend|wake",
	Short: "switch machines on and off, or ask how they are",
	Long: `Switch machines on and off through their management controllers, or guests
through their hypervisors. What is already so is not done again: on prints "on"
for a machine that is on, off and reset print "off" for one that is off.

  on, off          switch; softoff asks the operating system to stop
  reset            restart at once; boot: reset, or on if the machine is off
  cycle            off and on again
  stat             on, off or suspend; also state and status
  nmi, suspend, wake

Results come as the machines answer. One that is dead costs its own line only.`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("force", "f", false, "guests: power on one that was moved")
		f.Bool("dry-run", false, "ask the machines and print what would be done; do nothing")
		f.Bool("summary", false, "end with a line of how many there were of each")
		yesFlag(f)
	},
	Complete: rangeThen("on", "off", "softoff", "reset", "boot", "cycle", "stat", "state", "status", "nmi", "suspend", "wake"),
	Run:      rpower,
}

// rangeThen completes a noderange, then one of words.
func rangeThen(words ...string) func(*Session, []string, string) []string {
	return func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return s.completeRange(word)
		}
		return withPrefix(words, word)
	}
}

func rpower(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return Usagef("one of on, off, softoff, reset, boot, cycle, stat, nmi, suspend, wake is wanted after the noderange")
	}
	action, err := bmc.ParseAction(words[0])
	if err != nil {
		return err
	}
	if err := s.confirmPower(len(nodes), action); err != nil {
		return err
	}
	c := s.control(snap, nodes, byPower)
	if len(c.guests) > 0 {
		if s.Guests == nil {
			s.Error("this daemon manages no guests")
		} else if err := s.GuestPower(ctx, snap, c.guests, words[0], s.Bool("force")); err != nil {
			s.Error("%s", err)
		}
	}
	return s.metalPower(ctx, snap, c.metal, action)
}

// confirmPower asks before many machines are taken away from their users.
func (s *Session) confirmPower(n int, a bmc.Action) error {
	if a == bmc.Stat || a == bmc.On || a == bmc.Wake {
		return nil
	}
	return s.Confirm(n, "power "+string(a))
}

func (s *Session) metalPower(ctx context.Context, snap *nodedb.Snapshot, targets []bmc.Target, action bmc.Action) error {
	dry := s.Bool("dry-run")
	counts, did := map[string]int{}, map[string]nodedb.Status{}
	failed := len(targets)
	metal(ctx, s, snap, targets, func(ctx context.Context, t bmc.Target, c bmc.Controller) (string, error) {
		if dry {
			word, err := bmc.Foresee(ctx, c, action)
			return word + " (not done)", err
		}
		return bmc.Power(ctx, c, action, t.Settle)
	}, func(t bmc.Target, word string) {
		s.Node(t.Node, "%s", word)
		counts[word]++
		failed--
		if status := powerStatus(action, word); status != "" && !dry {
			did[t.Node] = status
			if status == poweringOn {
				s.Service.Note(t.Node, provision.StepPower, string(action)+": "+word)
			}
		}
	})
	if s.Bool("summary") {
		s.Line("%s", summary(counts, failed))
	}
	return s.setStatuses(ctx, did)
}

func summary(counts map[string]int, failed int) string {
	var words []string
	for w, n := range counts {
		words = append(words, fmt.Sprintf("%d %s", n, w))
	}
	slices.Sort(words)
	if failed > 0 {
		words = append(words, fmt.Sprintf("%d failed", failed))
	}
	return strings.Join(words, ", ")
}

// poweringOn is what xCAT calls a node that was just switched on.
const poweringOn nodedb.Status = "powering-on"

// powerStatus is the nodelist.status that xCAT sets for a power order.
func powerStatus(a bmc.Action, word string) nodedb.Status {
	switch a {
	case bmc.On, bmc.BootUp:
		return poweringOn
	case bmc.Off, bmc.SoftOff:
		return "powering-off"
	case bmc.Reset:
		if word == "off" {
			return "powering-off"
		}
		return poweringOn
	}
	return ""
}

// setStatuses writes statuses in one commit, unless site.nodestatus says not
// to.
func (s *Session) setStatuses(ctx context.Context, did map[string]nodedb.Status) error {
	wanted := strings.ToLower(s.DB.Snapshot().Site("nodestatus"))
	if len(did) == 0 || wanted == "0" || strings.HasPrefix(wanted, "n") {
		return nil
	}
	return s.DB.Update(context.WithoutCancel(ctx), func(tx *nodedb.Tx) error {
		for node, status := range did {
			if _, err := tx.Snapshot().Node(node); err == nil {
				tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: node}, "nodelist.status", string(status))
			}
		}
		return nil
	})
}
