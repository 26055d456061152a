package ipmi

import (
	"context"
	"errors"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/command/sensor"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Vitals reads the sensors that the SDR repository names.
func (c *Controller) Vitals(ctx context.Context, kinds ...string) ([]bmc.Sensor, error) {
	var out []bmc.Sensor
	if bmc.Wants(kinds, bmc.PowerState, bmc.LED) {
		chassis, err := c.chassisSensors(ctx, kinds)
		if err != nil {
			return nil, err
		}
		out = append(out, chassis...)
	}
	if !bmc.Wants(kinds, bmc.Temperature, bmc.Voltage, bmc.Fan, bmc.Wattage) {
		return out, nil
	}
	records, err := c.records(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		s, number, ok := sensorOf(r)
		if !ok || !bmc.Wants(kinds, s.Kind) {
			continue
		}
		if err := c.readSensor(ctx, r, number, &s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// chassisSensors are power and locator light, which are no sensors in IPMI.
func (c *Controller) chassisSensors(ctx context.Context, kinds []string) ([]bmc.Sensor, error) {
	var res chassis.GetChassisStatusResponse
	if err := c.s.do(ctx, user, &chassis.GetChassisStatusRequest{}, &res); err != nil {
		return nil, err
	}
	var out []bmc.Sensor
	if bmc.Wants(kinds, bmc.PowerState) {
		out = append(out, bmc.Sensor{Name: "Power Status", Kind: bmc.PowerState, Text: onOff(res.PowerIsOn)})
	}
	if bmc.Wants(kinds, bmc.LED) && res.ChassisIdentifySupported {
		on := res.ChassisIdentifyState != chassis.ChassisIdentifyStateOff
		out = append(out, bmc.Sensor{Name: "Identify LED", Kind: bmc.LED, Text: onOff(on)})
	}
	return out, nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// sensorOf is what a record says of a sensor before it is read. Sensors of
// other controllers than the BMC are not asked: that takes bridging.
func sensorOf(r *types.SDR) (s bmc.Sensor, number byte, ok bool) {
	var owner types.GeneratorID
	var unit types.SensorUnit
	var kind types.SensorType
	switch {
	case r.Full != nil:
		owner, unit, kind = r.Full.GeneratorID, r.Full.SensorUnit, r.Full.SensorType
	case r.Compact != nil:
		owner, unit, kind = r.Compact.GeneratorID, r.Compact.SensorUnit, r.Compact.SensorType
	default:
		return bmc.Sensor{}, 0, false
	}
	if uint16(owner)&0xff != bmcAddress {
		return bmc.Sensor{}, 0, false
	}
	s = bmc.Sensor{Name: bmc.Clean(r.SensorName()), Kind: kindOf(kind, unit), Unit: unitOf(unit)}
	if !analog(r) {
		s.Unit = ""
		if s.Kind != bmc.Fan && s.Kind != bmc.Temperature && s.Kind != bmc.Voltage {
			s.Kind = bmc.OtherSensor
		}
	}
	return s, byte(r.SensorNumber()), true
}

// analog says whether a sensor's reading is a number (43.1, sensor units 1).
func analog(r *types.SDR) bool {
	const none = 3
	return r.Full != nil && r.Full.SensorUnit.AnalogDataFormat != none &&
		(r.Full.SensorEventReadingType == types.EventReadingTypeThreshold || r.Full.M != 0)
}

// Sensor types of table 42-3 and units of table 43-15 that rvitals has words
// for.
const (
	typeTemperature = 0x01
	typeVoltage     = 0x02
	typeFan         = 0x04
	unitWatts       = 6
)

func kindOf(t types.SensorType, u types.SensorUnit) string {
	switch {
	case u.BaseUnit == unitWatts:
		return bmc.Wattage
	case t == typeTemperature:
		return bmc.Temperature
	case t == typeVoltage:
		return bmc.Voltage
	case t == typeFan:
		return bmc.Fan
	}
	return bmc.OtherSensor
}

func unitOf(u types.SensorUnit) string {
	if u.Percentage {
		return "%"
	}
	switch u.BaseUnit {
	case 1:
		return "C"
	case 2:
		return "F"
	case 4:
		return "Volts"
	case 5:
		return "Amps"
	case unitWatts:
		return "Watts"
	case 18:
		return "RPM"
	}
	if s := u.BaseUnit.String(); s != "" && s != "unspecified" {
		return s
	}
	return "units"
}

// readSensor is Get Sensor Reading (35.14).
func (c *Controller) readSensor(ctx context.Context, r *types.SDR, number byte, s *bmc.Sensor) error {
	var res sensor.GetSensorReadingResponse
	err := c.s.do(ctx, user, &sensor.GetSensorReadingRequest{SensorNumber: number}, &res)
	var code *CodeError
	if errors.As(err, &code) {
		s.Absent = true // not there now: an empty slot
		return nil
	}
	if err != nil {
		return err
	}
	if res.ReadingUnavailable || res.SensorScanningDisabled {
		s.Absent = true
		return nil
	}
	if s.Unit != "" {
		s.Value = r.Full.ConvertReading(res.Reading)
		s.State = thresholdState(&res)
		return nil
	}
	s.Text = "0"
	s.State = discreteState(r, &res)
	return nil
}

func thresholdState(r *sensor.GetSensorReadingResponse) string {
	switch r.ThresholdStatus() {
	case types.SensorThresholdStatus_UNR:
		return "At or above upper non-recoverable threshold"
	case types.SensorThresholdStatus_UCR:
		return "At or above upper critical threshold"
	case types.SensorThresholdStatus_UNC:
		return "At or above upper non-critical threshold"
	case types.SensorThresholdStatus_LNR:
		return "At or below lower non-recoverable threshold"
	case types.SensorThresholdStatus_LCR:
		return "At or below lower critical threshold"
	case types.SensorThresholdStatus_LNC:
		return "At or below lower non-critical threshold"
	}
	return ""
}

// discreteState names the states that a sensor without number is in.
func discreteState(r *types.SDR, res *sensor.GetSensorReadingResponse) string {
	var kind types.SensorType
	var reading types.EventReadingType
	if r.Full != nil {
		kind, reading = r.Full.SensorType, r.Full.SensorEventReadingType
	} else {
		kind, reading = r.Compact.SensorType, r.Compact.SensorEventReadingType
	}
	text := ""
	for _, offset := range res.ActiveStates.TrueEvents() {
		e := reading.EventForOffset(kind, offset)
		if e == nil {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += e.EventName
	}
	return text
}
