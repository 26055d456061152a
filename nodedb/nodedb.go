// Package nodedb holds what the cluster is: records as operators typed them,
// nodes as code reads them, and snapshots in which both agree.
//
// Operators' words (tables, columns, attributes) live in schema.go; all other
// code says Node.VMHost and ModeInstall. Nothing of ours sits below nodedb.
package nodedb

import (
	"context"
	"errors"
)

// Classes of error, for callers that act on the class. The text around them
// names the thing and the way out.
var (
	ErrNotFound = errors.New("not found")
	ErrInvalid  = errors.New("invalid")
	ErrConflict = errors.New("changed meanwhile")
	ErrCompact  = errors.New("revision no longer kept")
)

// A Kind says what a record describes. Node and Group records carry the
// columns of every table that is keyed by node alone; Image records those of
// every table that is keyed by imagename. Any other table is a kind of its own,
// called by the table's name.
type Kind string

// The kinds that code names. KindGroup also keeps the rows of names that are
// neither in nodelist nor in nodegroup, as xCAT's node tables may.
const (
	KindNode    Kind = "node"
	KindGroup   Kind = "group"
	KindImage   Kind = "osimage"
	KindNetwork Kind = "networks"
	KindSite    Kind = "site"
	KindPasswd  Kind = "passwd"
)

// A Key names one record. Name is the node, group or image, or the values of
// the table's key columns joined by KeySep.
type Key struct {
	Kind Kind
	Name string
}

// KeySep joins the key columns of a table that has several.
const KeySep = "\x1f"

// A Record is what an operator typed, under xCAT's table.column. An attribute
// "table." with an empty value marks a row that has only its key. Rev is the
// revision of the store that wrote it last. Records are values: whoever gets
// one may not change Attrs.
type Record struct {
	Key
	Attrs map[string]string
	Rev   int64
}

// A Change puts one record in place of what its key held. Attrs nil removes
// it. If is the revision that the writer saw (0: none existed); the whole
// commit is refused with ErrConflict if any differs. Touched, unless it is nil,
// has every column whose value may differ from that revision's; a store may go
// by it and write no more than those.
type Change struct {
	Key
	Attrs   map[string]string
	If      int64
	Touched []string
}

// A Store keeps records. One suite, nodedbtest.TestStore, says what each
// implementation owes.
type Store interface {
	// Load returns every record and the revision at which that was true.
	Load(ctx context.Context) ([]Record, int64, error)
	// Commit makes all changes or none and returns the new revision; when it
	// returns nil the changes survive a crash. The records' own revisions are
	// newer than all before, and at most the one returned.
	Commit(ctx context.Context, changes []Change) (int64, error)
	// Watch calls fn for every commit after revision after, in order, until
	// ctx is done; a removed record has nil Attrs. A call without records says
	// only that the store is being followed. ErrCompact: load anew.
	Watch(ctx context.Context, after int64, fn func([]Record, int64)) error
	Close() error
}
