package ipmi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/storage"
	"github.com/bougou/go-ipmi/pkg/types"
)

const selRecord = 16

// Events reads the system event log (31), newest first.
func (c *Controller) Events(ctx context.Context, n int) ([]bmc.Event, error) {
	raw, err := c.readEvents(ctx)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	slices.Reverse(raw)
	if n > 0 && n < len(raw) {
		raw = raw[:n]
	}
	names, err := c.sensorNames(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]bmc.Event, 0, len(raw))
	for _, r := range raw {
		out = append(out, eventOf(r, names))
	}
	return out, nil
}

// readEvents walks the log from its first entry; the standard has no way back
// from its last.
func (c *Controller) readEvents(ctx context.Context) ([][]byte, error) {
	var out [][]byte
	for id := uint16(0); id != lastRecord && len(out) < 1<<16; {
		var res storage.GetSELEntryResponse
		err := c.s.do(ctx, user, &storage.GetSELEntryRequest{RecordID: id, ReadBytes: wholeRecord}, &res)
		if absentRecord(err) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(res.Data) == selRecord {
			out = append(out, res.Data)
		}
		if res.NextRecordID == id || res.NextRecordID == 0 {
			return out, nil // would go round for ever
		}
		id = res.NextRecordID
	}
	return out, nil
}

// eventOf reads an entry (32.1). What does not parse is shown as bytes.
func eventOf(raw []byte, names map[byte]string) (e bmc.Event) {
	defer func() {
		if recover() != nil {
			e = bmc.Event{Text: fmt.Sprintf("Unknown event %x", raw)}
		}
	}()
	sel, err := types.ParseSEL(raw)
	if err != nil {
		return bmc.Event{Text: fmt.Sprintf("Unknown event %x", raw)}
	}
	switch {
	case sel.Standard != nil:
		return bmc.Event{Time: eventTime(sel.Standard.Timestamp), Text: standardText(sel.Standard, names)}
	case sel.OEMTimestamped != nil:
		o := sel.OEMTimestamped
		return bmc.Event{Time: eventTime(o.Timestamp), Text: fmt.Sprintf("OEM event, manufacturer %d: %x", o.ManufacturerID, o.OEMDefined)}
	case sel.OEMNonTimestamped != nil:
		return bmc.Event{Text: fmt.Sprintf("OEM event: %x", sel.OEMNonTimestamped.OEM)}
	}
	return bmc.Event{Text: fmt.Sprintf("Unknown event %x", raw)}
}

// eventTime leaves out what is no time: FFFFFFFFh is none, and up to
// 20000000h are seconds since the controller started (37.1).
func eventTime(t time.Time) time.Time {
	if s := t.Unix(); s <= 0x20000000 || s == 0xffffffff {
		return time.Time{}
	}
	return t.UTC()
}

// standardText is "type, event (sensor)", as xCAT has it.
func standardText(s *types.SELStandard, names map[byte]string) string {
	text := s.SensorType.String() + ", " + eventName(s)
	if s.EventDir {
		text = "Recovery " + text
	}
	name := names[byte(s.SensorNumber)]
	if name == "" {
		name = fmt.Sprintf("Sensor 0x%02x", byte(s.SensorNumber))
	}
	return text + " (" + name + ")"
}

func eventName(s *types.SELStandard) string {
	if name := s.EventString(); name != "" {
		return name
	}
	return "event " + s.EventData.String()
}

// How long an erasure may take: 31.9 has the console ask for its progress.
const (
	eraseTries = 60
	erasePause = 250 * time.Millisecond
)

// ClearEvents empties the log.
func (c *Controller) ClearEvents(ctx context.Context) error {
	var reservation storage.ReserveSELResponse
	if err := c.s.do(ctx, operator, &storage.ReserveSELRequest{}, &reservation); err != nil && codeOf(err) == types.CodeOK {
		return err // a BMC without reservations takes 0
	}
	var res storage.ClearSELResponse
	req := &storage.ClearSELRequest{ReservationID: reservation.ReservationID}
	if err := c.s.do(ctx, operator, req, &res); err != nil {
		return err
	}
	req.GetErasureStatusFlag = true
	for try := 0; res.ErasureProgressStatus&0x0f != 1; try++ {
		if try == eraseTries {
			return fmt.Errorf("clear: the BMC still erases after %v: %w", eraseTries*erasePause, bmc.ErrIgnored)
		}
		if !bmc.Sleep(ctx, erasePause) {
			return bmc.Timeout(context.Cause(ctx))
		}
		if err := c.s.do(ctx, operator, req, &res); err != nil {
			return err
		}
	}
	return nil
}
