package bolt_test

import (
	"path/filepath"
	"sync"
	"testing"

	"margay/nodedb"
	"margay/nodedb/bolt"
	"margay/nodedb/nodedbtest"
)

func TestStore(t *testing.T) {
	var mu sync.Mutex
	paths := map[testing.TB]string{}
	nodedbtest.TestStore(t, func(t testing.TB) nodedb.Store {
		mu.Lock()
		defer mu.Unlock()
		if paths[t] == "" {
			paths[t] = filepath.Join(t.TempDir(), "table.db")
		}
		s, err := bolt.Open(paths[t])
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
