package command

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"margay/nodedb"
)

// An Audit writes the auditlog table: a row for every command that changes
// something. Rows are written some at a time, shortly after the commands; no
// command waits for that. It also keeps auditlog and history within bounds.
type Audit struct {
	db      *nodedb.DB
	log     *slog.Logger
	host    string
	queue   chan auditRow
	flush   chan chan struct{}
	dropped atomic.Int64
	next    int64 // recid of the next row; 0: not known yet
}

// An auditRow is one row, without its number. Of one with skip set nothing is
// written: it only has the bounds looked at, which its command may have passed.
type auditRow struct {
	skip                                                  bool
	at                                                    time.Time
	user, from, command, noderange, args, result, comment string
}

// How many rows wait at most, how many are written at once, and how long a
// row waits for others.
const (
	auditQueue = 4096
	auditBatch = 512
	auditWait  = 500 * time.Millisecond
)

// How much is kept: auditlog rows unless site.auditlogmax says another number
// (0: all), and the history's entries and bytes.
const (
	auditKeep    = 10000
	historyKeep  = 1000
	historyBytes = 16 << 20
)

// NewAudit returns an Audit of the table. Run must run for rows to be written.
func NewAudit(db *nodedb.DB, log *slog.Logger) *Audit {
	host, _ := os.Hostname()
	return &Audit{db: db, log: log, host: host, queue: make(chan auditRow, auditQueue), flush: make(chan chan struct{})}
}

// add queues a row. If too many wait already it is dropped, which is said.
func (a *Audit) add(row auditRow) {
	select {
	case a.queue <- row:
	default:
		if a.dropped.Add(1) == 1 {
			a.log.Warn("auditlog: the table is not written as fast as commands come; rows are lost")
		}
	}
}

// Flush writes what is queued before it returns, unless ctx ends first.
func (a *Audit) Flush(ctx context.Context) {
	done := make(chan struct{})
	select {
	case a.flush <- done:
		<-done
	case <-ctx.Done():
	}
}

// Run writes rows until ctx is done; then it writes those that are left.
func (a *Audit) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			a.write(last, a.waiting(nil))
			return nil
		case done := <-a.flush:
			a.write(ctx, a.waiting(nil))
			close(done)
		case row := <-a.queue:
			a.write(ctx, a.gather(ctx, row))
		}
	}
}

// gather waits a little for more rows.
func (a *Audit) gather(ctx context.Context, row auditRow) []auditRow {
	rows := []auditRow{row}
	t := time.NewTimer(auditWait)
	defer t.Stop()
	for len(rows) < auditBatch {
		select {
		case row := <-a.queue:
			rows = append(rows, row)
		case <-t.C:
			return rows
		case done := <-a.flush:
			rows = a.waiting(rows)
			a.write(ctx, rows)
			close(done)
			return nil
		case <-ctx.Done():
			return rows
		}
	}
	return rows
}

// waiting adds the rows that are queued now.
func (a *Audit) waiting(rows []auditRow) []auditRow {
	for {
		select {
		case row := <-a.queue:
			rows = append(rows, row)
		default:
			return rows
		}
	}
}

func (a *Audit) write(ctx context.Context, rows []auditRow) {
	if len(rows) == 0 {
		return
	}
	var next int64
	err := a.db.Update(ctx, func(tx *nodedb.Tx) error {
		next = a.next
		if _, taken := tx.Get(auditKey(next)); taken || next == 0 {
			next = lastAudit(tx.Records(kindAudit)) + 1
		}
		for _, row := range rows {
			if !row.skip {
				tx.Put(auditKey(next), row.attrs(a.host))
				next++
			}
		}
		prune(tx)
		return nil
	})
	if err != nil {
		a.log.Warn("auditlog: rows are lost", "rows", len(rows), "err", err)
		return
	}
	a.next = next
}

const kindAudit nodedb.Kind = "auditlog"

func auditKey(id int64) nodedb.Key {
	return nodedb.Key{Kind: kindAudit, Name: strconv.FormatInt(id, 10)}
}

func lastAudit(list []nodedb.Record) (last int64) {
	for _, r := range list {
		if id, err := strconv.ParseInt(r.Name, 10, 64); err == nil {
			last = max(last, id)
		}
	}
	return last
}

func (row auditRow) attrs(host string) map[string]string {
	if row.from == "unix" {
		row.from = host
	}
	return map[string]string{
		"auditlog.audittime":  row.at.Format("2006-01-02 15:04:05"),
		"auditlog.userid":     row.user,
		"auditlog.clientname": row.from,
		"auditlog.clienttype": "cli",
		"auditlog.command":    row.command,
		"auditlog.noderange":  row.noderange,
		"auditlog.args":       row.args,
		"auditlog.status":     row.result,
		"auditlog.comments":   row.comment,
	}
}

// prune keeps the auditlog and the history within their bounds. A tenth goes
// at once, so that not every write has something to remove.
func prune(tx *nodedb.Tx) {
	tx.PruneHistory(historyKeep, historyBytes)
	keep := auditKeep
	if v, err := strconv.Atoi(tx.Snapshot().Site("auditlogmax")); err == nil {
		keep = v
	}
	if keep <= 0 {
		return
	}
	ids := auditIDs(tx.Records(kindAudit))
	if len(ids) <= keep {
		return
	}
	for _, id := range ids[:len(ids)-keep+keep/10] {
		tx.Delete(auditKey(id))
	}
}

func auditIDs(list []nodedb.Record) []int64 {
	var ids []int64
	for _, r := range list {
		if id, err := strconv.ParseInt(r.Name, 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// audited reports whether a command has a row in auditlog. The words of
// site.auditskipcmds are commands that have none, or ALL, or clienttype:cli;
// without any, commands that only look have none.
func audited(snap *nodedb.Snapshot, args []string) bool {
	if len(args) == 0 || strings.HasPrefix(args[0], "_") {
		return false
	}
	skip := strings.FieldsFunc(snap.Site("auditskipcmds"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(skip) == 0 {
		return !reads(args)
	}
	for _, word := range skip {
		if word == "ALL" || word == args[0] || word == "clienttype:cli" {
			return false
		}
	}
	return true
}

// audit queues the row of a command that has ended.
func (s *Session) audit(began time.Time, code int) {
	if s.Audit == nil {
		return
	}
	if !audited(s.DB.Snapshot(), s.Req.Args) {
		if !reads(s.Req.Args) {
			s.Audit.add(auditRow{skip: true})
		}
		return
	}
	comment := fmt.Sprintf("exit %d", code)
	if first := s.first.Load(); first != nil {
		comment += ": " + *first
	}
	s.Audit.add(auditRow{
		at: began, user: s.Req.User, from: s.Req.From,
		command: s.Req.Args[0], noderange: s.noderange, args: commandLine(maskArgs(s.Req.Args[1:])),
		result: "Allowed", comment: comment[:min(len(comment), 300)],
	})
}
