package command

import (
	"slices"
	"strconv"
	"strings"

	"margay/nodedb"
)

// How much is kept: rows of commands that change something and rows of those
// that only look, unless site.auditlogmax and site.auditreadsmax say other
// numbers (0: all), and the history's entries and bytes.
const (
	auditKeep    = 10000
	auditReads   = 10000
	historyKeep  = 1000
	historyBytes = 16 << 20
)

// auditIDs are the numbers of auditlog's rows, rising, apart for commands that
// only look, so that many of those do not drive out the others. They are
// counted along, for to read the table at every write would cost more than the
// write.
type auditIDs struct {
	changes, reads []int64
	last           int64
}

const kindAudit nodedb.Kind = "auditlog"

func auditKey(id int64) nodedb.Key {
	return nodedb.Key{Kind: kindAudit, Name: strconv.FormatInt(id, 10)}
}

// of returns the numbers as a transaction has them: those that were counted, or
// those of the table if others have written to it.
func (ids auditIDs) of(tx *nodedb.Tx) auditIDs {
	_, taken := tx.Get(auditKey(ids.last + 1))
	if ids.last > 0 && !taken && len(ids.changes)+len(ids.reads) == tx.Snapshot().Count(kindAudit) {
		return ids
	}
	var now auditIDs
	for _, r := range tx.Records(kindAudit) {
		id, err := strconv.ParseInt(r.Name, 10, 64)
		if err != nil {
			continue
		}
		now.last = max(now.last, id)
		words := append([]string{r.Attrs["auditlog.command"]}, strings.Fields(r.Attrs["auditlog.args"])...)
		if reads(words) {
			now.reads = append(now.reads, id)
			continue
		}
		now.changes = append(now.changes, id)
	}
	slices.Sort(now.changes)
	slices.Sort(now.reads)
	return now
}

// add returns the number of a new row.
func (ids *auditIDs) add(reads bool) int64 {
	ids.last++
	if reads {
		ids.reads = append(ids.reads, ids.last)
	} else {
		ids.changes = append(ids.changes, ids.last)
	}
	return ids.last
}

// prune removes the oldest rows beyond the bounds.
func (ids *auditIDs) prune(tx *nodedb.Tx) {
	site := tx.Snapshot().Site
	ids.changes = pruneOldest(tx, ids.changes, atoiOr(site("auditlogmax"), auditKeep))
	ids.reads = pruneOldest(tx, ids.reads, atoiOr(site("auditreadsmax"), auditReads))
}

// pruneOldest removes the oldest rows if they are more than keep, and some
// more, so that not every write has something to remove. keep 0 is all.
func pruneOldest(tx *nodedb.Tx, ids []int64, keep int) []int64 {
	if keep <= 0 || len(ids) <= keep {
		return ids
	}
	n := len(ids) - keep + min(keep/10, auditBatch)
	for _, id := range ids[:n] {
		tx.Delete(auditKey(id))
	}
	return slices.Clone(ids[n:])
}

func atoiOr(text string, or int) int {
	if v, err := strconv.Atoi(text); err == nil {
		return v
	}
	return or
}
