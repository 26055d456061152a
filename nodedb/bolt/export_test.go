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
