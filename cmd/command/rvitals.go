package command

import (
	"context"

	"margay/provision/bmc"
)

var rvitalsCmd = &Command{
	Name:     "rvitals",
	Usage:    "noderange [all|temp|voltage|wattage|fanspeed|power|leds]...",
	Short:    "show how machines fare: temperatures, voltages, fans, power",
	Group:    GroupPower,
	Complete: rangeThen(bmc.VitalKinds()...),
	Run:      rvitals,
}

func rvitals(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	kinds := splitWords(words)
	if err := bmc.CheckVitalKinds(kinds); err != nil {
		return err
	}
	metal(ctx, s, snap, s.metalOnly(snap, nodes), func(ctx context.Context, _ bmc.Target, m bmc.Controller) ([]bmc.Sensor, error) {
		return m.Vitals(ctx, kinds...)
	}, func(t bmc.Target, sensors []bmc.Sensor) {
		for _, sensor := range sensors {
			s.printLines(t.Node, []bmc.Line{sensor.Line()})
		}
	})
	return nil
}
