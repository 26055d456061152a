package vm

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// SwapUUID turns a UUID's first three groups round, byte by byte. SMBIOS
// stores them little-endian (DMTF DSP0134, 7.2.1): what vSphere calls
// 658f1942-79d5-26fb-... the guest's firmware reports as 42198f65-d579-fb26-...
// The table has the latter, as vpd.uuid. Text that is no UUID comes back as
// it is.
func SwapUUID(s string) string {
	b, err := uuidBytes(s)
	if err != nil {
		return s
	}
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5] = b[5], b[4]
	b[6], b[7] = b[7], b[6]
	return formatUUID(b)
}

// NewUUID makes a random UUID (RFC 9562, 5.4).
func NewUUID(random io.Reader) (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return formatUUID(b), nil
}

// CheckUUID refuses text that is no UUID.
func CheckUUID(s string) error {
	_, err := uuidBytes(s)
	return err
}

func uuidBytes(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.NewReplacer("-", "", " ", "").Replace(s))
	if err != nil || len(b) != 16 {
		return nil, Errorf(ErrInvalid, "uuid %q: not 32 hexadecimal digits", s)
	}
	return b, nil
}

func formatUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
