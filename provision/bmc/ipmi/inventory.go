package ipmi

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Inventory fetches what the given kinds need: the BMC's own identity, the
// machine's GUID, and the labels of its parts (FRU).
func (c *Controller) Inventory(ctx context.Context, kinds ...string) (*bmc.Inventory, error) {
	if !bmc.Wants(kinds, "firm", "mprom", "deviceid", "guid", "uuid", "vpd", "model", "serial", "asset") {
		return nil, unsupported(fmt.Errorf("IPMI does not tell %s; set mgt=redfish if the machine speaks it", strings.Join(kinds, ",")))
	}
	var v bmc.Inventory
	if bmc.Wants(kinds, "firm", "mprom", "deviceid") {
		if err := c.identity(ctx, &v); err != nil {
			return nil, err
		}
	}
	if bmc.Wants(kinds, "guid", "uuid") {
		if err := c.guid(ctx, &v); err != nil {
			return nil, err
		}
	}
	if bmc.Wants(kinds, "vpd", "model", "serial", "asset") {
		if err := c.labels(ctx, &v, bmc.Wants(kinds, "vpd")); err != nil {
			return nil, err
		}
	}
	return &v, nil
}

// identity is Get Device ID (20.1). Firmware in BCD: 1.10 is 01h 10h. Some
// BMCs leave the auxiliary bytes out, or send three of the four, which the
// library refuses; we need none.
func (c *Controller) identity(ctx context.Context, v *bmc.Inventory) error {
	var res rawResponse
	if err := c.s.do(ctx, user, &app.GetDeviceIDRequest{}, &res); err != nil {
		return err
	}
	if len(res) < 11 {
		return fmt.Errorf("get device id: %d bytes of 11", len(res))
	}
	v.BMCFirmware = fmt.Sprintf("%d.%02x", res[2]&0x7f, res[3])
	v.DeviceID = fmt.Sprint(res[0])
	v.ManufacturerID = fmt.Sprint(uint32(res[6]) | uint32(res[7])<<8 | uint32(res[8]&0x0f)<<16)
	v.ProductID = fmt.Sprint(uint16(res[9]) | uint16(res[10])<<8)
	return nil
}

// guid is Get System GUID (22.14), which is optional; the handshake told it as
// well (13.21).
func (c *Controller) guid(ctx context.Context, v *bmc.Inventory) error {
	var res app.GetSystemGUIDResponse
	err := c.s.do(ctx, user, &app.GetSystemGUIDRequest{}, &res)
	var code *CodeError
	if errors.As(err, &code) {
		res.GUID, err = c.s.guid, nil
	}
	if err != nil {
		return err
	}
	v.UUID = formatGUID(res.GUID)
	return nil
}

// formatGUID writes a GUID. The standard has its bytes in reverse (20.8);
// controllers send it as SMBIOS does, in reverse, or straight. A UUID says its
// version and variant, so the order in which they make sense is taken; SMBIOS
// order, which is what the machine itself shows, goes first and stands if none
// does.
func formatGUID(b [16]byte) string {
	smbios := [16]byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
	reversed := b
	for i := range b {
		reversed[i] = b[15-i]
	}
	for _, u := range [][16]byte{smbios, b, reversed} {
		if version := u[6] >> 4; version >= 1 && version <= 8 && u[8]&0xc0 == 0x80 {
			return formatUUID(u)
		}
	}
	return formatUUID(smbios)
}

func formatUUID(u [16]byte) string {
	if u == ([16]byte{}) {
		return ""
	}
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// rawResponse is an answer's data as it came.
type rawResponse []byte

// Unpack keeps a copy of the data.
func (r *rawResponse) Unpack(data []byte) error { *r = append(rawResponse(nil), data...); return nil }

// Format is for the library's interface.
func (r *rawResponse) Format() string { return "" }

// rawRequest is a request by its bytes, for what the library packs otherwise
// than older BMCs take.
type rawRequest struct {
	command types.Command
	data    []byte
}

// Pack returns the data.
func (r rawRequest) Pack() []byte { return r.data }

// Command returns the command.
func (r rawRequest) Command() types.Command { return r.command }

var _ types.Request = rawRequest{}
