package nodedb

// A Tx is one change to the table. It is used by one goroutine.
type Tx struct {
	snap *Snapshot
}

// Snapshot is the table as it was before the transaction.
func (tx *Tx) Snapshot() *Snapshot { return tx.snap }

// Get returns a record as the transaction has it.
func (tx *Tx) Get(k Key) (Record, bool) { return Record{}, false }

// Put replaces a record whole.
func (tx *Tx) Put(k Key, attrs map[string]string) {}

// Set sets one column of a record, which is made if need be; "" removes the
// column.
func (tx *Tx) Set(k Key, column, value string) {}

// Delete removes a record.
func (tx *Tx) Delete(k Key) {}
