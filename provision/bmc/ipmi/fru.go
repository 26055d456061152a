package ipmi

import (
	"context"
	"errors"
	"fmt"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/storage"
	"github.com/bougou/go-ipmi/pkg/types"
)

// labels reads the main label, FRU 0, and with all those of the other parts
// that the SDR repository names.
func (c *Controller) labels(ctx context.Context, v *bmc.Inventory, all bool) error {
	f, err := c.fru(ctx, 0)
	if err != nil && !absent(err) {
		return err
	}
	if f != nil {
		v.System, v.Board, v.Chassis = productOf(f), boardOf(f), chassisOf(f)
	}
	if !all {
		return nil
	}
	records, err := c.records(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		l := r.FRUDeviceLocator
		if l == nil || !l.IsLogicalFRUDevice || l.FRUDeviceID_SlaveAddress == 0 || l.DeviceAccessAddress != bmcAddress>>1 && l.DeviceAccessAddress != bmcAddress {
			continue
		}
		m, err := c.module(ctx, l)
		if err != nil {
			return err
		}
		v.Modules = append(v.Modules, m)
	}
	return nil
}

// module reads the label of one part.
func (c *Controller) module(ctx context.Context, l *types.SDRFRUDeviceLocator) (bmc.Module, error) {
	name := bmc.Clean(string(l.DeviceIDBytes))
	if name == "" {
		name = fmt.Sprintf("FRU %d", l.FRUDeviceID_SlaveAddress)
	}
	f, err := c.fru(ctx, l.FRUDeviceID_SlaveAddress)
	if absent(err) {
		return bmc.Module{Name: name, Absent: true}, nil
	}
	if err != nil {
		return bmc.Module{}, err
	}
	m := productOf(f)
	m.Name = name
	if f.BoardInfoArea != nil {
		b := boardOf(f)
		m.BoardOf = &b
	}
	return m, nil
}

// errLabel: what the part holds is no label.
var errLabel = errors.New("no label")

// absent says that a part is not there, or has no label that makes sense:
// nothing that should keep the others from being shown.
func absent(err error) bool {
	switch codeOf(err) {
	case types.CodeOK:
		return errors.Is(err, errLabel)
	case types.CodeRequestedDataNotPresent, types.CodeInvalidCommand, types.CodeRequestDataFieldInvalid,
		types.CodeParameterOutOfRange, types.CodeDestinationUnavailable, types.CodeUnspecifiedError, types.CodeCannotProvideResponse,
		0x81: // FRU device busy (34.2)
		return true
	}
	return false
}

// fru reads and parses the label of a part (34; FRU information 1.0).
func (c *Controller) fru(ctx context.Context, id uint8) (*types.FRU, error) {
	data, err := c.readFRU(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := parseFRU(data)
	if err != nil {
		return nil, fmt.Errorf("FRU %d: %v: %w", id, err, errLabel)
	}
	return f, nil
}

// parseFRU parses a label. Internal use and multi-record areas were not read
// and are taken off the header.
func parseFRU(data []byte) (f *types.FRU, err error) {
	defer func() {
		if r := recover(); r != nil {
			f, err = nil, fmt.Errorf("does not parse: %v", r)
		}
	}()
	if len(data) < fruHeader {
		return nil, errors.New("too short")
	}
	h := append([]byte(nil), data...)
	if checksum(h[:fruHeader]) != 0 {
		return nil, errors.New("checksum")
	}
	h[1], h[5], h[7] = 0, 0, 0
	h[7] = checksum(h[:7])
	return types.ParseFRU(h)
}

const (
	fruHeader = 8
	fruChunk  = 32 // what every BMC can carry in an answer
)

// readFRU reads as much of a part's memory as its header says is label.
func (c *Controller) readFRU(ctx context.Context, id uint8) ([]byte, error) {
	var info storage.GetFRUInventoryAreaInfoResponse
	if err := c.s.do(ctx, user, &storage.GetFRUInventoryAreaInfoRequest{FRUDeviceID: id}, &info); err != nil {
		return nil, err
	}
	unit := 1
	if info.DeviceAccessedByWords {
		unit = 2
	}
	var data []byte
	chunk := fruChunk
	for need := fruHeader; len(data) < need && len(data) < int(info.AreaSizeBytes); need = fruNeeds(data) {
		n := min(chunk, int(info.AreaSizeBytes)-len(data))
		got, err := c.readFRUPart(ctx, id, len(data)/unit, max(n/unit, 1))
		if tooMuch(err) && chunk > 8 {
			chunk /= 2
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(got) == 0 {
			break
		}
		data = append(data, got...)
	}
	return data, nil
}

func (c *Controller) readFRUPart(ctx context.Context, id uint8, offset, count int) ([]byte, error) {
	var res rawResponse
	req := &storage.ReadFRUDataRequest{FRUDeviceID: id, ReadOffset: uint16(offset), ReadCount: uint8(count)} //nolint:gosec // bounded by the area's size and the chunk
	if err := c.s.do(ctx, user, req, &res); err != nil {
		return nil, err
	}
	if len(res) < 1 {
		return nil, nil
	}
	return res[1:], nil
}

// tooMuch are the codes by which a BMC says that it cannot carry so many bytes.
func tooMuch(err error) bool {
	switch codeOf(err) {
	case types.CodeRequestDataLengthInvalid, types.CodeRequestDataLengthLimitExceeded, types.CodeCannotReturnRequestedDataBytes:
		return true
	}
	return false
}

// fruNeeds is how many bytes must be there to know the chassis, board and
// product areas, going by what is there.
func fruNeeds(data []byte) int {
	if len(data) < fruHeader {
		return fruHeader
	}
	need := fruHeader
	for _, offset := range data[2:5] {
		at := int(offset) * 8
		switch {
		case at == 0:
		case at+2 > len(data):
			need = max(need, at+2)
		default:
			need = max(need, at+int(data[at+1])*8)
		}
	}
	return need
}

func productOf(f *types.FRU) bmc.Module {
	p := f.ProductInfoArea
	if p == nil {
		return bmc.Module{}
	}
	return bmc.Module{
		Manufacturer: fruText(p.ManufacturerTypeLength, p.Manufacturer),
		Product:      fruText(p.NameTypeLength, p.Name),
		Model:        fruText(p.PartModelTypeLength, p.PartModel),
		Version:      fruText(p.VersionTypeLength, p.Version),
		Serial:       fruText(p.SerialNumberTypeLength, p.SerialNumber),
		Asset:        fruText(p.AssetTagTypeLength, p.AssetTag),
		Extra:        fruExtra(p.Custom),
	}
}

func boardOf(f *types.FRU) bmc.Module {
	b := f.BoardInfoArea
	if b == nil {
		return bmc.Module{}
	}
	return bmc.Module{
		Manufacturer: fruText(b.ManufacturerTypeLength, b.Manufacturer),
		Product:      fruText(b.ProductNameTypeLength, b.ProductName),
		Model:        fruText(b.PartNumberTypeLength, b.PartNumber),
		Serial:       fruText(b.SerialNumberTypeLength, b.SerialNumber),
		Extra:        fruExtra(b.Custom),
	}
}

func chassisOf(f *types.FRU) bmc.Module {
	c := f.ChassisInfoArea
	if c == nil {
		return bmc.Module{}
	}
	return bmc.Module{
		Model:  fruText(c.PartNumberTypeLength, c.PartNumber),
		Serial: fruText(c.SerialNumberTypeLength, c.SerialNumber),
	}
}

func fruExtra(fields []types.FRUField) []string {
	var out []string
	for _, f := range fields {
		if s := bmc.Clean(f.String()); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// fruText decodes a field. Vendors fill unused ones with dots or blanks.
func fruText(t types.TypeLength, raw []byte) string {
	s := bmc.Clean(types.FRUFieldString(t, raw))
	for _, r := range s {
		if r != '.' && r != ' ' && r != '0' && r != '-' {
			return s
		}
	}
	return ""
}
