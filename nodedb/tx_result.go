package nodedb

// Result is the table as the transaction would leave it, worked out whole: for
// looking at a large change before it is made.
func (tx *Tx) Result() *Snapshot {
	var list []Record
	for _, kind := range tx.snap.Kinds() {
		for _, r := range tx.snap.Records(kind) {
			if tx.find(r.Key) == nil {
				list = append(list, r)
			}
		}
	}
	for _, p := range tx.order {
		if r, ok := tx.Get(p.Key); ok {
			list = append(list, r)
		}
	}
	return newBuilder().load(list, tx.snap.rev)
}
