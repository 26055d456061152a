package main

import (
	"bytes"
	"compress/gzip"
	"testing"
	"time"

	"margay/nodedb"
)

// A backup is read whole or not at all: one that lacks its end, or of which a
// byte was changed, is refused.
func TestBackupDamaged(t *testing.T) {
	var changes []nodedb.Change
	for _, name := range []string{"n1", "n2", "n3"} {
		changes = append(changes, nodedb.Change{Key: nodedb.Key{Kind: "node", Name: name}, Attrs: map[string]string{"nodelist.groups": "all"}})
	}
	var b bytes.Buffer
	if err := writeBackup(&b, backupHead{Format: backupFormat, At: time.Now()}, changes); err != nil {
		t.Fatal(err)
	}
	_, records, err := readBackup(bytes.NewReader(b.Bytes()))
	if err != nil || len(records) != 3 || records[2].Name != "n3" || records[2].Attrs["nodelist.groups"] != "all" {
		t.Fatalf("%v, %v", records, err)
	}
	plain := unzip(t, b.Bytes())
	for i := range plain {
		if _, _, err := readBackup(zip(plain[:i])); err == nil {
			t.Fatalf("the first %d of %d bytes are taken", i, len(plain))
		}
		other := bytes.Clone(plain)
		other[i] ^= 1
		if _, got, err := readBackup(zip(other)); err == nil && len(got) != 3 {
			t.Fatalf("with byte %d changed it is taken as %v", i, got)
		}
	}
}

func unzip(t *testing.T, b []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zip(b []byte) *bytes.Buffer {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return &out
}
