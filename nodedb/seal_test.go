package nodedb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"margay/nodedb"
	"margay/nodedb/bolt"
	"margay/nodedb/nodedbtest"
)

func isSecret(column string) bool { return column == "passwd.password" || column == "t.v" }

// A sealed store is a store like any other.
func TestSealedStore(t *testing.T) {
	paths := map[testing.TB]string{}
	nodedbtest.TestStore(t, func(t testing.TB) nodedb.Store {
		if paths[t] == "" {
			paths[t] = filepath.Join(t.TempDir(), "table.db")
		}
		s, err := bolt.Open(paths[t])
		if err != nil {
			t.Fatal(err)
		}
		return nodedb.Seal(s, [32]byte{1}, isSecret)
	})
}

func openBolt(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealHides(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "table.db")
	s := nodedb.Seal(openBolt(t, path), [32]byte{1}, isSecret)
	secret := nodedbtest.Password("vmware", "root", "Hunter2Hunter2")
	secret.Attrs["passwd.cryptmethod"] = "sha512"
	given := nodedb.Change{Key: secret.Key, Attrs: secret.Attrs}
	rev, err := s.Commit(ctx, []nodedb.Change{given, {Key: nodedb.Key{Kind: nodedb.KindSite, Name: "plain"}, Attrs: map[string]string{"site.value": "InTheClear"}}})
	if err != nil {
		t.Fatal(err)
	}
	if secret.Attrs["passwd.password"] != "Hunter2Hunter2" {
		t.Error("the writer's own record was changed")
	}
	s.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file, []byte("Hunter2")) || !bytes.Contains(file, []byte("InTheClear")) {
		t.Error("the file has the secret, or lacks what is none")
	}

	below := openBolt(t, path)
	recs, _, err := below.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := ""
	for _, r := range recs {
		if r.Kind == nodedb.KindPasswd {
			kept = r.Attrs["passwd.password"]
		}
	}
	if !strings.HasPrefix(kept, "sealed:1:") {
		t.Errorf("kept as %q", kept)
	}
	// A secret moved to another record, or damaged, does not open.
	for _, to := range []nodedb.Record{nodedbtest.Password("vmware", "other", kept), nodedbtest.Password("vmware", "other", kept[:len(kept)-4]), nodedbtest.Password("x", "y", "sealed:1:AAAA"), nodedbtest.Password("x", "y", "sealed:1:?")} {
		at, err := below.Commit(ctx, []nodedb.Change{{Key: to.Key, Attrs: to.Attrs}})
		if err != nil {
			t.Fatal(err)
		}
		s := nodedb.Seal(below, [32]byte{1}, isSecret)
		if _, _, err := s.Load(ctx); !errors.Is(err, nodedb.ErrInvalid) || strings.Contains(fmt.Sprint(err), kept) {
			t.Errorf("Load: %v", err)
		}
		if err := s.Watch(ctx, at-1, func([]nodedb.Record, int64) { t.Error("told of a value that does not open") }); !errors.Is(err, nodedb.ErrInvalid) {
			t.Errorf("Watch: %v", err)
		}
		if _, err := below.Commit(ctx, []nodedb.Change{{Key: to.Key, If: at}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := nodedb.Seal(below, [32]byte{2}, isSecret).Load(ctx); err == nil || !strings.Contains(err.Error(), "passwd vmware root: the sealing key does not open passwd.password") {
		t.Errorf("another key: %v", err)
	}
	// What an older table has in the clear is read.
	plain := nodedbtest.Password("vmware", "root", "clear")
	if _, err := below.Commit(ctx, []nodedb.Change{{Key: plain.Key, Attrs: plain.Attrs, If: rev}}); err != nil {
		t.Fatal(err)
	}
	db, err := nodedb.New(ctx, nodedb.Seal(below, [32]byte{1}, isSecret))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if p, err := db.Snapshot().Password("vmware", "root"); err != nil || p.Secret != "clear" {
		t.Errorf("%v (%v)", p, err)
	}
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	keys := make([][32]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = nodedb.LoadKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || k == [32]byte{} {
			t.Fatal("who come first together get different keys, or none")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("%v (%v)", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	os.Chmod(path, 0o644)
	if _, err := nodedb.LoadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others may read: %v", err)
	}
	for _, size := range []int{0, 31, 33} {
		bad := filepath.Join(t.TempDir(), "bad")
		os.WriteFile(bad, make([]byte, size), 0o600)
		if _, err := nodedb.LoadKey(bad); err == nil {
			t.Errorf("a key of %d bytes is taken", size)
		}
	}
	if _, err := nodedb.LoadKey(filepath.Join(t.TempDir(), "no", "dir")); err == nil {
		t.Error("a key in no directory")
	}
}

// What a listing showed in place of a secret comes back as the secret of the
// same record, and as nothing else.
func TestSettle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	db, err := nodedb.New(t.Context(), nodedb.Seal(openBolt(t, path), [32]byte{1}, nodedb.IsSecret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	nodedbtest.Put(t, db, nodedbtest.Password("vmware", "root", "tiger"), nodedbtest.Group("g", "ipmi.password=of the group"),
		nodedbtest.Site("snmpc", "lioness"), nodedbtest.Site("domain", "InTheClear"),
		nodedbtest.Node("n1", "g", "ipmi.password=own"), nodedbtest.Node("n2", "g"), nodedbtest.Node("n3", "all"))
	key := nodedbtest.Password("vmware", "root", "").Key
	site := nodedbtest.Site("snmpc", "").Key
	files, _ := filepath.Glob(path + "*") // the store keeps a log beside its file
	var file []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, b...)
	}
	if bytes.Contains(file, []byte("lioness")) || !bytes.Contains(file, []byte("InTheClear")) {
		t.Errorf("%v have the site's secret, or lack what is none", files)
	}
	node := func(name string) nodedb.Key { return nodedb.Key{Kind: nodedb.KindNode, Name: name} }
	text := db.Sealed(key, "passwd.password", "tiger")
	if !strings.HasPrefix(text, "sealed:1:") || text != db.Sealed(key, "passwd.password", "tiger") || text == db.Sealed(key, "passwd.password", "lion") {
		t.Errorf("sealed as %s", text)
	}
	if got := db.Sealed(key, "passwd.username", "root"); got != "root" {
		t.Errorf("no secret, and sealed as %s", got)
	}
	tests := []struct {
		k             nodedb.Key
		column, value string
		want          string // "": refused
	}{
		{key, "passwd.password", nodedb.Hidden, "tiger"},
		{key, "passwd.password", text, "tiger"},
		{nodedbtest.Password("vmware", "other", "").Key, "passwd.password", text, ""},
		{nodedbtest.Password("vmware", "other", "").Key, "passwd.password", nodedb.Hidden, ""},
		{key, "passwd.password", text[:len(text)-1], ""},
		{site, "site.value", nodedb.Hidden, "lioness"},
		{site, "site.value", db.Sealed(site, "site.value", "lioness"), "lioness"},
		{nodedbtest.Site("domain", "").Key, "site.value", nodedb.Hidden, nodedb.Hidden},
		{node("n1"), "ipmi.password", nodedb.Hidden, "own"},
		{node("n2"), "ipmi.password", nodedb.Hidden, "of the group"},
		{node("n3"), "ipmi.password", nodedb.Hidden, ""},
		{node("n3"), "nodelist.comments", nodedb.Hidden, nodedb.Hidden},
	}
	for _, tt := range tests {
		before := db.Snapshot().Rev()
		err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
			tx.Set(tt.k, tt.column, tt.value)
			return nil
		})
		if tt.want == "" {
			if !errors.Is(err, nodedb.ErrInvalid) || strings.Contains(err.Error(), "tiger") || db.Snapshot().Rev() != before {
				t.Errorf("%v %s: %v", tt.k, tt.value, err)
			}
			continue
		}
		r, _ := db.Snapshot().Record(tt.k)
		got := r.Attrs[tt.column]
		if n, err := db.Snapshot().Node(tt.k.Name); err == nil {
			got = n.Attr(tt.column)
		}
		if err != nil || got != tt.want {
			t.Errorf("%v %s: %q, %v; want %q", tt.k, tt.value, got, err, tt.want)
		}
	}
	if r, _ := db.Snapshot().Record(node("n2")); r.Attrs["ipmi.password"] != "" {
		t.Error("the group's password became the node's own")
	}
}
