package bmc

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The kinds of sensor, in rvitals' words.
const (
	Temperature = "temp"
	Voltage     = "voltage"
	Fan         = "fanspeed"
	Wattage     = "wattage"
	PowerState  = "power"
	LED         = "leds"
	OtherSensor = "other" // shown with "all"
)

// A Sensor is one reading.
type Sensor struct {
	Name   string
	Kind   string
	Value  float64
	Unit   string // "C", "RPM", "Volts", "Watts", ...; empty: Text says it
	Text   string // of a sensor without number: "on", "0"
	State  string // what is wrong or notable: "At or above upper critical threshold"
	Absent bool   // no reading at the moment
}

// VitalKinds are the words that rvitals takes.
func VitalKinds() []string {
	return []string{"all", Temperature, Voltage, Wattage, Fan, PowerState, LED}
}

// CheckVitalKinds refuses words that rvitals does not take.
func CheckVitalKinds(kinds []string) error {
	for _, k := range kinds {
		if !slices.Contains(VitalKinds(), k) {
			return fmt.Errorf("unsupported rvitals argument %s", k)
		}
	}
	return nil
}

// Line is the sensor as rvitals prints it.
func (s Sensor) Line() Line {
	v := s.reading()
	if s.State != "" {
		v = fmt.Sprintf("%-20s (%s)", v, Clean(s.State))
	}
	return Line{Clean(s.Name), v}
}

func (s Sensor) reading() string {
	if s.Absent {
		return "N/A"
	}
	if s.Unit == "" {
		return Clean(s.Text)
	}
	n := number(s.Value)
	switch s.Unit {
	case "C":
		return fmt.Sprintf("%s C (%.0f F)", n, s.Value*9/5+32)
	case "F":
		return fmt.Sprintf("%.0f C (%s F)", (s.Value-32)*5/9, n)
	case "Watts":
		return fmt.Sprintf("%s Watts (%.0f BTUs/hr)", n, s.Value*3.41214)
	}
	return n + " " + s.Unit
}

// number writes a reading with as many digits as a sensor has.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "N/A"
	}
	s := strconv.FormatFloat(v, 'f', 3, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
