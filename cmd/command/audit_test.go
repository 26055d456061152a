package command

import (
	"fmt"
	"log/slog"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// Auditlog and history stay within their bounds, the newest of each.
func TestAuditBounds(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Node("n1", "all"), nodedbtest.Site("auditlogmax", "20"))
	err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
		for i := range historyKeep + 5 {
			tx.Put(nodedb.Key{Kind: nodedb.KindHistory, Name: fmt.Sprintf("%05d", i)}, map[string]string{"history.run": fmt.Sprint(i)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAudit(db, slog.New(slog.DiscardHandler))
	a.write(t.Context(), []auditRow{{skip: true}})
	if h := db.Snapshot().History(); len(h) != historyKeep || h[0].Run != "5" {
		t.Errorf("%d entries of history are left, want %d", len(h), historyKeep)
	}
	for i := range 10 {
		var rows []auditRow
		for j := range 5 {
			rows = append(rows, auditRow{command: fmt.Sprint(i*5 + j)})
		}
		a.write(t.Context(), rows)
	}
	rows := db.Snapshot().Rows(nodedb.TableByName("auditlog"))
	if n := len(rows); n > 20 || n < 15 || rows[n-1].Values[0] != "50" || rows[n-1].Values[5] != "49" {
		t.Errorf("%d rows are left: %v", n, rows)
	}
	// Rows that came otherwise do not get in the way.
	nodedbtest.Put(t, db, nodedbtest.Record("auditlog", "51", "auditlog.command=restored"))
	a.write(t.Context(), []auditRow{{command: "next"}})
	if r, _ := db.Snapshot().Record(auditKey(52)); r.Attrs["auditlog.command"] != "next" {
		t.Errorf("row 52 is %v", r.Attrs)
	}
}

// A command never waits for the log: rows that are too many are dropped.
func TestAuditNeverBlocks(t *testing.T) {
	a := NewAudit(nodedbtest.New(t), slog.New(slog.DiscardHandler))
	for range auditQueue + 10 {
		a.add(auditRow{command: "x"})
	}
	if n := a.dropped.Load(); n != 10 {
		t.Errorf("%d rows were dropped, want 10", n)
	}
}
