package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"margay/nodedb"
	"margay/provision/bmc"
)

// Hardware is bare metal as the daemon reaches it.
type Hardware struct {
	Dial     map[bmc.Kind]bmc.Dialer
	Pins     bmc.Pins
	Consoles *bmc.Consoles
}

// control splits nodes by what manages them. Whoever manages one more kind of
// machine adds it here.
type control struct {
	guests []*nodedb.Node // mgt=esx
	metal  []bmc.Target
}

// control sorts nodes by their nodehm.power (if the command is one of power)
// and nodehm.mgt. A node that nothing manages is that node's error, which
// names the columns looked at, as xCAT does.
func (s *Session) control(snap *nodedb.Snapshot, nodes []*nodedb.Node, columns string) control {
	var c control
	for _, n := range nodes {
		if manager(n, columns) == "esx" {
			c.guests = append(c.guests, n)
			continue
		}
		t, err := bmc.TargetOf(snap, n)
		if errors.Is(err, bmc.ErrNotBMC) {
			err = noPlugin(columns)
		}
		if err != nil {
			s.NodeError(n.Name, err)
			continue
		}
		c.metal = append(c.metal, t)
	}
	return c
}

// The columns that commands go by.
const (
	byPower = "nodehm.power,mgt"
	byMgt   = "nodehm.mgt"
)

func manager(n *nodedb.Node, columns string) string {
	if columns == byPower && n.Power != "" {
		return n.Power
	}
	return n.Mgt
}

func noPlugin(columns string) error {
	return fmt.Errorf("Unable to identify plugin for this command, check relevant tables: %s", columns) //nolint:staticcheck // xCAT's words
}

// metalOnly is control for commands that guests do not have.
func (s *Session) metalOnly(snap *nodedb.Snapshot, nodes []*nodedb.Node) []bmc.Target {
	c := s.control(snap, nodes, byMgt)
	for _, n := range c.guests {
		s.NodeError(n.Name, noPlugin(byMgt))
	}
	return c.metal
}

// metal does fn on each target's controller, many at a time, and prints errors
// as they come. What fn returns goes to done, one at a time.
func metal[R any](ctx context.Context, s *Session, snap *nodedb.Snapshot, targets []bmc.Target, fn func(context.Context, bmc.Target, bmc.Controller) (R, error), done func(bmc.Target, R)) {
	if len(targets) > 0 && s.Hardware == nil {
		s.Error("this daemon manages no bare metal")
		return
	}
	work := func(ctx context.Context, t bmc.Target) (R, error) {
		var none R
		d := s.Hardware.Dial[t.Kind]
		if d == nil {
			return none, fmt.Errorf("nothing speaks %s", t.Kind)
		}
		c, err := d.Dial(ctx, t)
		if err != nil {
			return none, err
		}
		defer func() { _ = c.Close() }()
		return fn(ctx, t, c)
	}
	for r := range bmc.Each(ctx, bmc.LimitsOf(snap), targets, work) {
		if r.Err != nil {
			s.NodeError(r.Target.Node, bmc.Brief(r.Err))
			continue
		}
		done(r.Target, r.Value)
	}
}

// printLines prints "node: label: value".
func (s *Session) printLines(node string, lines []bmc.Line) {
	for _, l := range lines {
		s.Label(node, l.Label, "%s", l.Value)
	}
}

// splitWords takes words apart at commas too, as xCAT's kinds may be given.
func splitWords(args []string) []string {
	var out []string
	for _, a := range args {
		out = append(out, strings.FieldsFunc(a, func(r rune) bool { return r == ',' })...)
	}
	return out
}
