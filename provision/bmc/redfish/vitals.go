package redfish

import (
	"context"
	"net/http"

	"margay/provision/bmc"
)

type health struct {
	Health string
	State  string
}

// thermal and power are Thermal and Power (DSP0268), which every service has;
// newer ones have their sensors in a collection too.
type thermal struct {
	Temperatures []struct {
		Name                string
		ReadingCelsius      *float64
		Status              health
		UpperCritical       *float64 `json:"UpperThresholdCritical"`
		UpperNonCritical    *float64 `json:"UpperThresholdNonCritical"`
		UpperNonRecoverable *float64 `json:"UpperThresholdFatal"`
	}
	Fans []struct {
		Name         string
		FanName      string
		Reading      *float64
		ReadingUnits string
		Status       health
	}
}

type power struct {
	Voltages []struct {
		Name         string
		ReadingVolts *float64
		Status       health
	}
	PowerControl []struct {
		Name               string
		PowerConsumedWatts *float64
		Status             health
	}
	PowerSupplies []struct {
		Name                string
		PowerOutputWatts    *float64
		LastPowerOutputWatt *float64 `json:"LastPowerOutputWatts"`
		Status              health
	}
}

// Vitals reads the sensors of the system's chassis.
func (c *Controller) Vitals(ctx context.Context, kinds ...string) ([]bmc.Sensor, error) {
	s, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	var out []bmc.Sensor
	if bmc.Wants(kinds, bmc.PowerState) {
		out = append(out, bmc.Sensor{Name: "Power Status", Kind: bmc.PowerState, Text: string(stateOf(s.PowerState))})
	}
	if bmc.Wants(kinds, bmc.LED) {
		out = append(out, ledSensor(s)...)
	}
	if !bmc.Wants(kinds, bmc.Temperature, bmc.Voltage, bmc.Fan, bmc.Wattage) {
		return out, nil
	}
	list, err := c.enclosures(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		more, err := c.chassisVitals(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, s := range more {
			if bmc.Wants(kinds, s.Kind) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

func ledSensor(s system) []bmc.Sensor {
	switch {
	case s.Locator != nil:
		text := "off"
		if *s.Locator {
			text = "on"
		}
		return []bmc.Sensor{{Name: "Identify LED", Kind: bmc.LED, Text: text}}
	case s.IndicatorLED != "":
		return []bmc.Sensor{{Name: "Identify LED", Kind: bmc.LED, Text: ledText(s.IndicatorLED)}}
	}
	return nil
}

func ledText(s string) string {
	switch s {
	case "Lit", "Blinking":
		return "on"
	case "Off":
		return "off"
	}
	return s
}

func (c *Controller) chassisVitals(ctx context.Context, path string) ([]bmc.Sensor, error) {
	var e chassis
	if err := c.s.get(ctx, path, &e); err != nil {
		if gone(err) {
			return nil, nil
		}
		return nil, err
	}
	if e.Thermal.ID == "" && e.Power.ID == "" {
		return c.sensors(ctx, e.Sensors)
	}
	var t thermal
	if err := c.optional(ctx, e.Thermal, &t); err != nil {
		return nil, err
	}
	var p power
	if err := c.optional(ctx, e.Power, &p); err != nil {
		return nil, err
	}
	return append(t.sensors(), p.sensors()...), nil
}

// optional reads a resource that need not be there.
func (c *Controller) optional(ctx context.Context, l link, v any) error {
	if l.ID == "" {
		return nil
	}
	err := c.s.get(ctx, l.ID, v)
	if gone(err) {
		return nil
	}
	return err
}

func (t thermal) sensors() []bmc.Sensor {
	var out []bmc.Sensor
	for _, x := range t.Temperatures {
		s := reading(x.Name, bmc.Temperature, "C", x.ReadingCelsius, x.Status)
		s.State = above(x.ReadingCelsius, s.State, x.UpperNonRecoverable, x.UpperCritical, x.UpperNonCritical)
		out = append(out, s)
	}
	for _, x := range t.Fans {
		name, unit := x.Name, "RPM"
		if name == "" {
			name = x.FanName
		}
		if x.ReadingUnits == "Percent" {
			unit = "%"
		}
		out = append(out, reading(name, bmc.Fan, unit, x.Reading, x.Status))
	}
	return out
}

// above says in xCAT's words which threshold a reading is over.
func above(v *float64, otherwise string, fatal, critical, warning *float64) string {
	over := func(limit *float64) bool { return v != nil && limit != nil && *v >= *limit }
	switch {
	case over(fatal):
		return "At or above upper non-recoverable threshold"
	case over(critical):
		return "At or above upper critical threshold"
	case over(warning):
		return "At or above upper non-critical threshold"
	}
	return otherwise
}

func (p power) sensors() []bmc.Sensor {
	var out []bmc.Sensor
	for _, x := range p.Voltages {
		out = append(out, reading(x.Name, bmc.Voltage, "Volts", x.ReadingVolts, x.Status))
	}
	for _, x := range p.PowerControl {
		out = append(out, reading(x.Name, bmc.Wattage, "Watts", x.PowerConsumedWatts, x.Status))
	}
	for _, x := range p.PowerSupplies {
		watts := x.PowerOutputWatts
		if watts == nil {
			watts = x.LastPowerOutputWatt
		}
		out = append(out, reading(x.Name, bmc.Wattage, "Watts", watts, x.Status))
	}
	return out
}

func reading(name, kind, unit string, v *float64, h health) bmc.Sensor {
	s := bmc.Sensor{Name: bmc.Clean(name), Kind: kind, Unit: unit, Absent: v == nil || h.State == "Absent"}
	if v != nil {
		s.Value = *v
	}
	if h.Health == "Warning" || h.Health == "Critical" {
		s.State = h.Health
	}
	return s
}

// sensors reads a chassis' Sensors collection.
func (c *Controller) sensors(ctx context.Context, l link) ([]bmc.Sensor, error) {
	var out []bmc.Sensor
	err := each(ctx, c, l, func(_ string, x struct {
		Name         string
		Reading      *float64
		ReadingType  string
		ReadingUnits string
		Status       health
	},
	) error {
		kind, unit := sensorKind(x.ReadingType)
		if unit == "" {
			unit = bmc.Clean(x.ReadingUnits)
		}
		out = append(out, reading(x.Name, kind, unit, x.Reading, x.Status))
		return nil
	})
	return out, err
}

func sensorKind(t string) (kind, unit string) {
	switch t {
	case "Temperature":
		return bmc.Temperature, "C"
	case "Voltage":
		return bmc.Voltage, "Volts"
	case "Rotational":
		return bmc.Fan, "RPM"
	case "Power":
		return bmc.Wattage, "Watts"
	}
	return bmc.OtherSensor, ""
}

// Beacon sets the locator light: LocationIndicatorActive, or IndicatorLED on
// services older than 2020.
func (c *Controller) Beacon(ctx context.Context, on bool) error {
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	if s.Locator != nil || s.IndicatorLED != "" {
		return c.light(ctx, c.system, s.Locator != nil, on)
	}
	list, err := c.enclosures(ctx, s)
	if err != nil {
		return err
	}
	for _, p := range list {
		var e chassis
		if err := c.s.get(ctx, p, &e); err != nil {
			return err
		}
		if e.Locator != nil || e.IndicatorLED != "" {
			return c.light(ctx, p, e.Locator != nil, on)
		}
	}
	return bmc.ErrUnsupported
}

func (c *Controller) light(ctx context.Context, path string, locator, on bool) error {
	if locator {
		return c.s.patch(ctx, path, map[string]any{"LocationIndicatorActive": on})
	}
	if !on {
		return c.s.patch(ctx, path, map[string]any{"IndicatorLED": "Off"})
	}
	err := c.s.patch(ctx, path, map[string]any{"IndicatorLED": "Blinking"})
	if status(err) == http.StatusBadRequest {
		err = c.s.patch(ctx, path, map[string]any{"IndicatorLED": "Lit"})
	}
	return err
}
