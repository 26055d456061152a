package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"margay/nodedb"
)

// A record is kept under its kind and its name, as the revision that wrote it,
// a checksum of all, and its attributes.
const (
	revSize    = 8
	headerSize = revSize + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// key is where a record is kept.
func key(k nodedb.Key) []byte {
	return appendKey(make([]byte, 0, len(k.Kind)+1+len(k.Name)), k)
}

func appendKey(b []byte, k nodedb.Key) []byte {
	b = append(append(b, k.Kind...), 0)
	return append(b, k.Name...)
}

func encode(k []byte, rev int64, attrs map[string]string) []byte {
	v := make([]byte, headerSize, 512)
	binary.BigEndian.PutUint64(v, uint64(rev))
	v = nodedb.AppendAttrs(v, attrs)
	binary.BigEndian.PutUint32(v[revSize:], checksum(k, v))
	return v
}

// checksum is over the key and the value but for the checksum.
func checksum(k, v []byte) uint32 {
	sum := crc32.Update(crc32.Checksum(k, castagnoli), castagnoli, v[:revSize])
	return crc32.Update(sum, castagnoli, v[headerSize:])
}

// revisionOf is the revision of a value, 0 if there is none.
func revisionOf(v []byte) int64 {
	if len(v) < headerSize {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}

func decode(d *nodedb.AttrDecoder, k, v []byte) (nodedb.Record, error) {
	kind, name, ok := bytes.Cut(k, []byte{0})
	if !ok || len(v) < headerSize {
		return nodedb.Record{}, fmt.Errorf("record %q makes no sense", k)
	}
	if checksum(k, v) != binary.BigEndian.Uint32(v[revSize:]) {
		return nodedb.Record{}, fmt.Errorf("record %q does not match its checksum", k)
	}
	attrs, err := d.Decode(v[headerSize:])
	if err != nil {
		return nodedb.Record{}, fmt.Errorf("record %q: %v", k, err)
	}
	return nodedb.Record{
		Key:   nodedb.Key{Kind: nodedb.Kind(d.Text(kind)), Name: string(name)},
		Attrs: attrs,
		Rev:   revisionOf(v),
	}, nil
}
