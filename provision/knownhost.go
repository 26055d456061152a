package provision

import (
	"context"
	"fmt"

	"margay/nodedb"
)

// KindHostKey is where the SSH host keys of nodes are kept: ours alone, one
// record a node. A node that is installed anew loses its record, for it will
// show another key.
const KindHostKey nodedb.Kind = "margay.hostkey"

// columnHostKey has the SHA-256 of the key, as ssh-keygen -l prints it.
const columnHostKey = "margay.hostkey.sha256"

// HostKey is the fingerprint kept of a node's SSH host key, "" if none.
func HostKey(snap *nodedb.Snapshot, node string) string {
	r, _ := snap.Record(nodedb.Key{Kind: KindHostKey, Name: node})
	return r.Attrs[columnHostKey]
}

// KeepHostKey keeps a fingerprint; an empty one forgets.
func KeepHostKey(ctx context.Context, db *nodedb.DB, node, fingerprint string) error {
	return db.Update(ctx, func(tx *nodedb.Tx) error {
		k := nodedb.Key{Kind: KindHostKey, Name: node}
		if fingerprint == "" {
			tx.Delete(k)
			return nil
		}
		tx.Set(k, columnHostKey, fingerprint)
		return nil
	})
}

// CheckHostKey compares the host key that a node shows with the one kept, and
// keeps it if there is none.
func CheckHostKey(ctx context.Context, db *nodedb.DB, node, shown string) error {
	switch kept := HostKey(db.Snapshot(), node); kept {
	case shown:
		return nil
	case "":
		return KeepHostKey(ctx, db, node, shown)
	default:
		return fmt.Errorf("the host key has changed: %s was seen first, %s is shown now; if the node was set up anew: makeknownhosts %s", kept, shown, node)
	}
}
