package nodedb

import "context"

// A DB keeps the newest snapshot of a store.
type DB struct {
	store Store
}

// New loads the store and follows it until Close. The DB owns the store.
func New(ctx context.Context, store Store) (*DB, error) { return &DB{store: store}, nil }

// Snapshot returns the newest snapshot. It never blocks.
func (db *DB) Snapshot() *Snapshot { return &Snapshot{} }

// Update runs fn and commits what it put, all or nothing. fn runs again, on a
// newer snapshot, if a record that it wrote was changed meanwhile, so it may
// have no other effect. When Update returns nil, Snapshot shows the change.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error { return nil }

// Subscribe calls fn after every change with the newest snapshot, in order,
// possibly leaving some out; fn must not block. It is called once at once.
func (db *DB) Subscribe(fn func(*Snapshot)) (cancel func()) { return func() {} }

// Close ends the following and closes the store.
func (db *DB) Close() error { return db.store.Close() }
