package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision/bmc"
)

var rinvCmd = &Command{
	Name:  "rinv",
	Usage: "noderange [all|asset|bios|config|cpu|deviceid|dimm|disk|firm|guid|mac|model|mprom|pci|serial|uuid|vpd]... [-t]",
	Short: "show what machines are",
	Long: `Show what machines are, as their management controllers or hypervisors say it.

  -t   keep it in the table: serial, machine type and model, UUID and asset tag
       in vpd; for guests memory, processors and storage in vm`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("table", "t", false, "keep it in the table")
	},
	Complete: rangeThen(bmc.InventoryKinds()...),
	Run:      rinv,
}

func rinv(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	kinds := splitWords(words)
	if err := bmc.CheckInventoryKinds(kinds); err != nil {
		return err
	}
	c := s.control(snap, nodes, byMgt)
	if len(c.guests) > 0 {
		if s.Guests == nil {
			s.Error("this daemon manages no guests")
		} else if err := s.GuestInventory(ctx, snap, c.guests, s.Bool("table")); err != nil {
			s.Error("%s", err)
		}
	}
	facts := map[string]map[string]string{}
	metal(ctx, s, snap, c.metal, func(ctx context.Context, _ bmc.Target, m bmc.Controller) (*bmc.Inventory, error) {
		return m.Inventory(ctx, kinds...)
	}, func(t bmc.Target, v *bmc.Inventory) {
		s.printLines(t.Node, v.Lines(kinds...))
		facts[t.Node] = vpd(v)
	})
	if !s.Bool("table") {
		return nil
	}
	return s.setFacts(ctx, facts)
}

// vpd is what of an inventory the table keeps.
func vpd(v *bmc.Inventory) map[string]string {
	out := map[string]string{}
	for column, value := range map[string]string{"vpd.serial": v.System.Serial, "vpd.mtm": v.System.Model, "vpd.uuid": v.UUID, "vpd.asset": v.System.Asset} {
		if value != "" {
			out[column] = bmc.Clean(value)
		}
	}
	return out
}

// setFacts writes what was learned of nodes, in one commit.
func (s *Session) setFacts(ctx context.Context, facts map[string]map[string]string) error {
	return s.DB.Update(context.WithoutCancel(ctx), func(tx *nodedb.Tx) error {
		for node, columns := range facts {
			if _, err := tx.Snapshot().Node(node); err != nil {
				continue
			}
			for column, value := range columns {
				tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: node}, column, value)
			}
		}
		return nil
	})
}
