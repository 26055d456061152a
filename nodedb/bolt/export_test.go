package bolt

import (
	"testing"

	"go.etcd.io/bbolt"
)

// SetFormat makes a file one of another version.
func SetFormat(t testing.TB, path string, n byte) {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte{n}) })
	if err != nil {
		t.Fatal(err)
	}
}

// Compact makes the store forget its recent commits.
func Compact(s *Store) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.commits, s.log.records = nil, 0
}

// FoldAt has a store fold its log when that is so large, before the first commit.
func FoldAt(s *Store, size int64) { s.foldAt = size }

// Frames is a log with a body in a frame whose checksum is right.
func Frames(head, body []byte) []byte {
	id, _ := readHead(head)
	frame := append(newFrame(nil), body...)
	id.seal(frame, 1)
	return append(append(make([]byte, 0, logStart+len(frame)), head...), frame...)
}
