// Package nodedbtest is what tests need of a node table: a table of their own,
// records in few words, and the suite that every store passes.
package nodedbtest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/bolt"
)

// New returns a table in a temporary file that holds the records. It is closed
// when the test ends.
func New(t testing.TB, records ...nodedb.Record) *nodedb.DB {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "table.db"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := nodedb.New(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	Put(t, db, records...)
	return db
}

// Put stores records, each in place of what its key held.
func Put(t testing.TB, db *nodedb.DB, records ...nodedb.Record) {
	t.Helper()
	err := db.Update(context.Background(), func(tx *nodedb.Tx) error {
		for _, r := range records {
			tx.Put(r.Key, r.Attrs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Record makes a record: columns and values as table.column=value.
func Record(kind nodedb.Kind, name string, attrs ...string) nodedb.Record {
	r := nodedb.Record{Key: nodedb.Key{Kind: kind, Name: name}, Attrs: make(map[string]string)}
	for _, a := range attrs {
		column, value, ok := strings.Cut(a, "=")
		if !ok || !strings.Contains(column, ".") {
			panic(fmt.Sprintf("%q is not table.column=value", a))
		}
		r.Attrs[column] = value
	}
	return r
}

// Node makes a node's record: its groups, and columns as Record has them.
func Node(name, groups string, attrs ...string) nodedb.Record {
	return Record(nodedb.KindNode, name, append([]string{"nodelist.=", "nodelist.groups=" + groups}, attrs...)...)
}

// Group makes a group's record.
func Group(name string, attrs ...string) nodedb.Record {
	return Record(nodedb.KindGroup, name, append([]string{"nodegroup.="}, attrs...)...)
}

// Site makes a row of the site table.
func Site(key, value string) nodedb.Record {
	return Record(nodedb.KindSite, key, "site.value="+value)
}

// Network makes a row of the networks table: its name, address and mask.
func Network(name, net, mask string, attrs ...string) nodedb.Record {
	return Record(nodedb.KindNetwork, net+nodedb.KeySep+mask, append([]string{"networks.netname=" + name}, attrs...)...)
}

// Password makes a row of the passwd table.
func Password(key, user, secret string) nodedb.Record {
	return Record(nodedb.KindPasswd, key+nodedb.KeySep+user, "passwd.password="+secret)
}

// Image makes an osimage.
func Image(name string, attrs ...string) nodedb.Record {
	return Record(nodedb.KindImage, name, append([]string{"osimage.="}, attrs...)...)
}
