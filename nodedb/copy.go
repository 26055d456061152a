package nodedb

import (
	"context"
	"fmt"
)

// Copy copies every record of one store to another, which has to be empty, in
// one commit. It returns how many there were.
func Copy(ctx context.Context, from, to Store) (int, error) {
	there, _, err := to.Load(ctx)
	if err != nil {
		return 0, err
	}
	if len(there) > 0 {
		return 0, fmt.Errorf("the store to copy to has %d records, and has to be empty: %w", len(there), ErrConflict)
	}
	recs, _, err := from.Load(ctx)
	if err != nil || len(recs) == 0 {
		return 0, err
	}
	changes := make([]Change, len(recs))
	for i, r := range recs {
		changes[i] = Change{Key: r.Key, Attrs: r.Attrs}
	}
	_, err = to.Commit(ctx, changes)
	return len(recs), err
}
