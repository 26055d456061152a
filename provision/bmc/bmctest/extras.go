package bmctest

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/types"
)

// extras are what the library's server lacks: sensors, an event log, LAN
// settings that can be changed.
type extras struct {
	mu       sync.Mutex // guards what follows
	events   [][]byte
	lan      map[byte][]byte
	readings map[byte][]byte
	refusals int
}

func newExtras() *extras {
	return &extras{
		lan: map[byte][]byte{
			3: {10, 0, 0, 9}, 4: {1}, 5: {0x02, 0, 0, 0, 0, 9}, 6: {255, 0, 0, 0}, 12: {10, 0, 0, 1},
			14: {0, 0, 0, 0}, 16: append([]byte("public"), make([]byte, 12)...), 20: {0, 0},
		},
		readings: map[byte][]byte{
			1: {41, 0xc0, 0x00}, 2: {100, 0xc0, 0x10}, 3: {121, 0xc0, 0}, 4: {39, 0xc0, 0}, 5: {0, 0xe0, 0}, 6: {0, 0xc0, 0x01, 0x80},
		},
	}
}

// RefuseBusy makes the next n requests in a session be answered "node busy".
func (e *extras) RefuseBusy(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusals = n
}

// AddEvent puts an entry in the log: sensor type, number, event type, offset.
func (e *extras) AddEvent(at time.Time, sensorType, number, eventType, offset byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := make([]byte, 16)
	binary.LittleEndian.PutUint16(r, uint16(len(e.events)+1)) //nolint:gosec // a test's log
	r[2] = 0x02
	binary.LittleEndian.PutUint32(r[3:], uint32(at.Unix())) //nolint:gosec // until 2106
	r[7], r[8], r[9] = 0x20, 0, 0x04
	r[10], r[11], r[12], r[13], r[14], r[15] = sensorType, number, eventType, offset, 0xff, 0xff
	e.events = append(e.events, r)
}

// EventCount is how many entries the log has.
func (e *extras) EventCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.events)
}

// LAN returns a LAN configuration parameter.
func (e *extras) LAN(selector byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]byte(nil), e.lan[selector]...)
}

func (e *extras) register(r *handlers.Registry, guid [16]byte) {
	r.Use(e.busy)
	handlers.RegisterAllHandlers(r)
	for c, f := range map[types.Command]func([]byte) ([]byte, types.CompletionCode){
		types.CommandGetSensorReading:  e.reading,
		types.CommandGetSELInfo:        e.selInfo,
		types.CommandReserveSEL:        func([]byte) ([]byte, types.CompletionCode) { return []byte{1, 0}, types.CodeOK },
		types.CommandGetSELEntry:       e.selEntry,
		types.CommandClearSEL:          e.selClear,
		types.CommandGetLanConfigParam: e.getLAN,
		types.CommandSetLanConfigParam: e.setLAN,
		types.CommandGetSystemGUID:     func([]byte) ([]byte, types.CompletionCode) { return guid[:], types.CodeOK },
	} {
		r.RegisterFunc(c, func(_ context.Context, _ *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
			data, code := f(req)
			return data, code, nil
		})
	}
}

// busy answers "node busy" as often as was asked for.
func (e *extras) busy(next handlers.Handler) handlers.Handler {
	return handlers.HandlerFunc(func(ctx context.Context, h *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
		e.mu.Lock()
		refuse := h.Session != nil && e.refusals > 0
		if refuse {
			e.refusals--
		}
		e.mu.Unlock()
		if refuse {
			return nil, types.CodeNodeBusy, nil
		}
		return next.Handle(ctx, h, req)
	})
}

func (e *extras) reading(req []byte) ([]byte, types.CompletionCode) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(req) < 1 || e.readings[req[0]] == nil {
		return nil, types.CodeRequestedDataNotPresent
	}
	return e.readings[req[0]], types.CodeOK
}

func (e *extras) selInfo([]byte) ([]byte, types.CompletionCode) {
	b := make([]byte, 14)
	b[0] = 0x51
	binary.LittleEndian.PutUint16(b[1:], uint16(e.EventCount())) //nolint:gosec // a test's log
	b[13] = 0x02
	return b, types.CodeOK
}

func (e *extras) selEntry(req []byte) ([]byte, types.CompletionCode) {
	if len(req) < 6 {
		return nil, types.CodeRequestDataTruncated
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	id := int(binary.LittleEndian.Uint16(req[2:]))
	switch id {
	case 0:
		id = 1
	case 0xffff:
		id = len(e.events)
	}
	if id < 1 || id > len(e.events) {
		return nil, types.CodeRequestedDataNotPresent
	}
	next := uint16(0xffff)
	if id < len(e.events) {
		next = uint16(id + 1) //nolint:gosec // a test's log
	}
	return append(binary.LittleEndian.AppendUint16(nil, next), e.events[id-1]...), types.CodeOK
}

func (e *extras) selClear(req []byte) ([]byte, types.CompletionCode) {
	if len(req) < 6 || string(req[2:5]) != "CLR" || req[0] != 1 {
		return nil, types.CodeRequestDataFieldInvalid
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if req[5] == 0xaa {
		e.events = nil
		return []byte{0}, types.CodeOK // under way
	}
	return []byte{1}, types.CodeOK
}

func (e *extras) getLAN(req []byte) ([]byte, types.CompletionCode) {
	if len(req) < 4 {
		return nil, types.CodeRequestDataTruncated
	}
	v := e.LAN(req[1])
	if v == nil {
		return nil, types.CodeParameterNotSupported
	}
	return append([]byte{0x11}, v...), types.CodeOK
}

func (e *extras) setLAN(req []byte) ([]byte, types.CompletionCode) {
	if len(req) < 3 {
		return nil, types.CodeRequestDataTruncated
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.lan[req[1]] == nil:
		return nil, types.CodeParameterNotSupported
	case req[1] == 5:
		return nil, types.CodeParamConfigSetReadOnly
	case len(req)-2 != len(e.lan[req[1]]):
		return nil, types.CodeRequestDataLengthInvalid
	}
	e.lan[req[1]] = append([]byte(nil), req[2:]...)
	return nil, types.CodeOK
}

// store fills the controller's labels and sensor records.
func (e *extras) store(m *mock.HAL) error {
	ctx := context.Background()
	system, err := types.PackFRU(types.FRUPackConfig{
		Chassis: &types.FRUPackChassis{Type: 23, PartNumber: "CH-1", Serial: "CHS0001"},
		Board:   &types.FRUPackBoard{MfgDate: time.Date(2020, 1, 2, 3, 4, 0, 0, time.UTC), Mfg: "Margay Works", Product: "Planar", Serial: "BRD0001", PartNumber: "BP-77"},
		Product: &types.FRUPackProduct{Manufacturer: "Margay", Name: "Played Server", PartModel: "7914AC1", Version: "02", Serial: "SN0001"},
	})
	if err != nil {
		return err
	}
	psu, err := types.PackFRU(types.FRUPackConfig{Product: &types.FRUPackProduct{Manufacturer: "Volt", Name: "PSU 750W", PartModel: "PV750", Version: "A", Serial: "PSU0001"}})
	if err != nil {
		return err
	}
	if err := m.Storage().FRU().Write(ctx, 0, system); err != nil {
		return err
	}
	if err := m.Storage().FRU().Write(ctx, 3, psu); err != nil {
		return err
	}
	for i, record := range sensorRecords() {
		if err := m.Storage().SDR().Write(ctx, uint16(i+1), record); err != nil { //nolint:gosec // a few
			return err
		}
	}
	return nil
}

func sensorRecords() [][]byte {
	analog := func(id uint16, number byte, name string, kind types.SensorType, unit types.SensorUnitType, m, rExp int) []byte {
		full := types.SDRFull{
			GeneratorID: 0x20, SensorNumber: types.SensorNumber(number), SensorEntityID: 3, SensorType: kind,
			SensorEventReadingType: types.EventReadingTypeThreshold,
			SensorUnit:             types.SensorUnit{BaseUnit: unit},
			ReadingFactors:         types.ReadingFactors{M: int16(m), R_Exp: int8(rExp)}, //nolint:gosec // small
			IDStringTypeLength:     types.TypeLength(0xc0 | len(name)),                   //nolint:gosec // short
			IDStringBytes:          []byte(name),
		}
		return full.Pack(id)
	}
	locator := func(id uint16, fru byte, name string) []byte {
		l := types.SDRFRUDeviceLocator{
			DeviceAccessAddress: 0x20, FRUDeviceID_SlaveAddress: fru, IsLogicalFRUDevice: true, DeviceType: 0x10,
			DeviceIDTypeLength: types.TypeLength(0xc0 | len(name)), DeviceIDBytes: []byte(name), //nolint:gosec // short
		}
		return l.Pack(id)
	}
	discrete := types.SDRCompact{
		GeneratorID: 0x20, SensorNumber: 6, SensorEntityID: 10, SensorType: 0x08, SensorEventReadingType: types.EventReadingTypeSensorSpecific,
		IDStringTypeLength: 0xc0 | 5, IDStringBytes: []byte("PSU 1"),
	}
	return [][]byte{
		analog(1, 1, "CPU 1 Temp", 1, types.SensorUnitType_DegreesC, 1, 0),
		analog(2, 2, "Inlet Temp", 1, types.SensorUnitType_DegreesC, 1, 0),
		analog(3, 3, "Planar 12V", 2, types.SensorUnitType_Volts, 1, -1),
		analog(4, 4, "Fan 1", 4, types.SensorUnitType_RPM, 100, 0),
		analog(5, 5, "DIMM 9 Temp", 1, types.SensorUnitType_DegreesC, 1, 0),
		discrete.Pack(6),
		locator(7, 3, "PSU 1"),
		locator(8, 4, "PSU 2"),
		types.PackMCLocator(types.MCLocatorPackOpts{RecordID: 9, Name: "BMC"}),
	}
}
