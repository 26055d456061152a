package ipmi

import (
	"context"
	"fmt"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/storage"
	"github.com/bougou/go-ipmi/pkg/types"
)

const (
	lastRecord   = 0xffff
	wholeRecord  = 0xff
	sdrHeader    = 5
	sdrChunk     = 32   // halved until the BMC can carry it
	maxRecords   = 4096 // more, and the repository is broken
	reserveTries = 20
)

// records reads the SDR repository (33) once a session. An empty one is no
// error.
func (c *Controller) records(ctx context.Context) ([]*types.SDR, error) {
	if c.sdr != nil {
		return c.sdr, nil
	}
	r := recordReader{c: c, chunk: wholeRecord}
	out := []*types.SDR{}
	for id := uint16(0); id != lastRecord && len(out) < maxRecords; {
		data, next, err := r.read(ctx, id)
		if absentRecord(err) {
			break
		}
		if err != nil {
			return nil, err
		}
		if sdr := parseSDR(data, next); sdr != nil {
			out = append(out, sdr)
		}
		if next == id {
			break // would go round for ever
		}
		id = next
	}
	c.sdr = out
	return out, nil
}

// absentRecord: the repository is empty (CBh), or there is none at all.
func absentRecord(err error) bool {
	switch codeOf(err) {
	case types.CodeRequestedDataNotPresent, types.CodeInvalidCommand, types.CodeRequestDataFieldInvalid, types.CodeParameterOutOfRange:
		return true
	}
	return false
}

// parseSDR parses a record; one that does not parse is passed over.
func parseSDR(data []byte, next uint16) (sdr *types.SDR) {
	defer func() {
		if recover() != nil {
			sdr = nil
		}
	}()
	sdr, err := types.ParseSDR(data, next)
	if err != nil {
		return nil
	}
	return sdr
}

// A recordReader fetches records whole, or in parts from a BMC that cannot
// carry them whole.
type recordReader struct {
	c           *Controller
	reservation uint16
	chunk       int
}

// read fetches one record. Parts are read under a reservation (33.11), which
// ends whenever anybody else takes one.
func (r *recordReader) read(ctx context.Context, id uint16) (data []byte, next uint16, err error) {
	for range reserveTries {
		if data, next, err = r.once(ctx, id); codeOf(err) != types.CodeReservationCanceled {
			return data, next, err
		}
		if err := r.reserve(ctx); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, err
}

func (r *recordReader) reserve(ctx context.Context) error {
	var res storage.ReserveSDRRepoResponse
	err := r.c.s.do(ctx, user, &storage.ReserveSDRRepoRequest{}, &res)
	r.reservation = res.ReservationID
	return err
}

func (r *recordReader) once(ctx context.Context, id uint16) (data []byte, next uint16, err error) {
	if r.chunk == wholeRecord {
		data, next, err = r.part(ctx, id, 0, wholeRecord)
		if err == nil && len(data) >= sdrHeader && len(data) >= sdrHeader+int(data[4]) {
			return data, next, nil
		}
		if err != nil && !tooMuch(err) && codeOf(err) != types.CodeUnspecifiedError {
			return nil, 0, err
		}
		r.chunk = sdrChunk
	}
	if data, next, err = r.part(ctx, id, 0, sdrHeader); err != nil {
		return nil, 0, err
	}
	if len(data) < sdrHeader {
		return nil, 0, fmt.Errorf("SDR %d: %d bytes of its header", id, len(data))
	}
	for total := sdrHeader + int(data[4]); len(data) < total; {
		more, _, err := r.part(ctx, id, len(data), min(r.chunk, total-len(data)))
		if tooMuch(err) && r.chunk > 4 {
			r.chunk /= 2
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if len(more) == 0 {
			return nil, 0, fmt.Errorf("SDR %d: ends after %d bytes of %d", id, len(data), total)
		}
		data = append(data, more...)
	}
	return data, next, nil
}

func (r *recordReader) part(ctx context.Context, id uint16, offset, n int) ([]byte, uint16, error) {
	var res storage.GetSDRResponse
	req := &storage.GetSDRRequest{ReservationID: r.reservation, RecordID: id, ReadOffset: uint8(offset), ReadBytes: uint8(n)} //nolint:gosec // both below 256
	if err := r.c.s.do(ctx, user, req, &res); err != nil {
		return nil, 0, err
	}
	return res.RecordData, res.NextRecordID, nil
}

// sensorNames are the names of the BMC's sensors by number.
func (c *Controller) sensorNames(ctx context.Context) (map[byte]string, error) {
	records, err := c.records(ctx)
	if err != nil {
		return nil, err
	}
	names := map[byte]string{}
	for _, r := range records {
		if name := bmc.Clean(nameOf(r)); name != "" {
			names[byte(r.SensorNumber())] = name
		}
	}
	return names, nil
}

func nameOf(r *types.SDR) string {
	switch {
	case r.Full != nil, r.Compact != nil:
		return r.SensorName()
	case r.EventOnly != nil:
		return string(r.EventOnly.IDStringBytes)
	}
	return ""
}
