package nodedb

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// AppendAttrs appends a record's attributes as stores keep them: a version,
// the columns in order with their values, and a checksum.
func AppendAttrs(b []byte, attrs map[string]string) []byte {
	start := len(b)
	b = append(b, attrsVersion)
	b = binary.AppendUvarint(b, uint64(len(attrs)))
	for _, column := range slices.Sorted(maps.Keys(attrs)) {
		b = appendText(b, column)
		b = appendText(b, attrs[column])
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

const attrsVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// An AttrDecoder reads what AppendAttrs wrote. It gives equal texts the same
// memory, as far as it remembers them. It is used by one goroutine.
type AttrDecoder struct {
	seen [1 << 12]string
}

// Decode reads attributes. The error wraps ErrInvalid: they are damaged, or a
// later version wrote them.
func (d *AttrDecoder) Decode(b []byte) (map[string]string, error) {
	if len(b) < 6 {
		return nil, fmt.Errorf("record of %d bytes is cut off: %w", len(b), ErrInvalid)
	}
	if b[0] != attrsVersion {
		return nil, fmt.Errorf("record has version %d, and this program reads %d: %w", b[0], attrsVersion, ErrInvalid)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("record does not match its checksum: %w", ErrInvalid)
	}
	n, size := binary.Uvarint(body[1:])
	if size <= 0 || n > uint64(len(body)/2) {
		return nil, fmt.Errorf("record is damaged: %w", ErrInvalid)
	}
	rest := body[1+size:]
	attrs := make(map[string]string, n)
	for range n {
		var column, value string
		var ok1, ok2 bool
		column, rest, ok1 = d.text(rest)
		value, rest, ok2 = d.text(rest)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("record is damaged: %w", ErrInvalid)
		}
		attrs[column] = value
	}
	if len(rest) > 0 || uint64(len(attrs)) != n {
		return nil, fmt.Errorf("record is damaged: %w", ErrInvalid)
	}
	return attrs, nil
}

// text takes a text off the front of b.
func (d *AttrDecoder) text(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	return d.intern(b[size : size+int(n)]), b[size+int(n):], true
}

// Text returns b as a text, with memory shared as far as it is remembered.
func (d *AttrDecoder) Text(b []byte) string { return d.intern(b) }

// intern returns b as a text, the one it returned before if it still has it.
func (d *AttrDecoder) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > 64 {
		return string(b)
	}
	h := uint32(2166136261) // FNV-1a
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	p := &d.seen[(h^h>>16)%uint32(len(d.seen))]
	if *p != string(b) {
		*p = string(b)
	}
	return *p
}
