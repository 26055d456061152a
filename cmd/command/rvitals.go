package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"margay/provision/bmc"
)

var rvitalsCmd = &Command{
	Name:  "rvitals",
	Usage: "noderange [all|temp|voltage|wattage|fanspeed|power|leds]...",
	Short: "show how machines fare: temperatures, voltages, fans, power",
	Long: `Show how machines fare: temperatures, voltages, fans, power. Of guests, show
what they use of their host: processor, memory, disk and network, by the host's
counters of the last 20 seconds.`,
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
	c := s.control(snap, nodes, byMgt)
	if len(c.guests) > 0 {
		if s.Guests == nil {
			return errors.New("this daemon manages no guests")
		}
		if len(kinds) > 0 && !slices.Contains(kinds, "all") {
			for _, n := range c.guests {
				s.NodeError(n.Name, fmt.Errorf("guests have no %s; leave the word out", strings.Join(kinds, ", ")))
			}
		} else {
			emit, flush := s.emit(ctx)
			s.Guests.Vitals(ctx, snap, c.guests, emit)
			if err := flush(); err != nil {
				return err
			}
		}
	}
	metal(ctx, s, snap, c.metal, func(ctx context.Context, _ bmc.Target, m bmc.Controller) ([]bmc.Sensor, error) {
		return m.Vitals(ctx, kinds...)
	}, func(t bmc.Target, sensors []bmc.Sensor) {
		for _, sensor := range sensors {
			s.printLines(t.Node, []bmc.Line{sensor.Line()})
		}
	})
	return nil
}
