package nodedb

import "maps"

// privateKinds are the kinds of records that are kept of a node under its
// name beside what operators write: they go with the node and move with its
// name. Leases and the like are named otherwise and stay.
var privateKinds = []Kind{"margay.attempt", "margay.timeline", "margay.withdrawn"}

// removePrivate removes what is kept of a node.
func (e *Editor) removePrivate(name string) {
	for _, kind := range privateKinds {
		e.delete(Key{kind, name})
	}
}

// renamePrivate moves what is kept of a node to another name. What an earlier
// node of that name left behind goes.
func (e *Editor) renamePrivate(name, to string) {
	for _, kind := range privateKinds {
		r, ok := e.tx.Get(Key{kind, name})
		e.delete(Key{kind, to})
		if !ok {
			continue
		}
		e.delete(Key{kind, name})
		e.put(Key{kind, to}, maps.Clone(r.Attrs))
	}
}
