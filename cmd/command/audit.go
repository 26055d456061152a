package command

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"margay/nodedb"
)

// An Audit writes the auditlog table: a row for every command. Rows are
// written some at a time, shortly after the commands; no command waits for
// that. It also tells syslog, and keeps auditlog and history within bounds.
type Audit struct {
	db      *nodedb.DB
	log     *slog.Logger
	host    string
	syslog  sysLog
	queue   chan auditRow
	flush   chan chan struct{}
	dropped atomic.Int64 // rows since the last write
	warned  time.Time    // when that was last spoken of
	kept    auditIDs     // of the rows that the table has
}

// An auditRow is one row, without its number.
type auditRow struct {
	reads  bool // the command only looked
	table  bool // the row is for auditlog; if not, only the bounds are looked at
	syslog bool // and for syslog

	at                                                    time.Time
	user, from, command, noderange, args, result, comment string
}

// How many rows wait at most, how many are written at once, and how long a
// row waits for others. Rows of commands that only look are dropped when half
// of the queue is taken, so that they do not crowd out the others.
const (
	auditQueue = 8192
	auditBatch = 512
	auditWait  = 300 * time.Millisecond
)

// auditLast bounds how long a write takes, that at the daemon's end too.
const auditLast = 5 * time.Second

// NewAudit returns an Audit of the table. Run must run for rows to be written.
func NewAudit(db *nodedb.DB, log *slog.Logger) *Audit {
	host, _ := os.Hostname()
	return &Audit{db: db, log: log, host: host, syslog: sysLog{path: syslogSocket}, queue: make(chan auditRow, auditQueue), flush: make(chan chan struct{})}
}

// add queues a row. If too many wait already it is dropped.
func (a *Audit) add(row auditRow) {
	if row.reads && len(a.queue) >= auditQueue/2 {
		a.dropped.Add(1)
		return
	}
	select {
	case a.queue <- row:
	default:
		a.dropped.Add(1)
	}
}

// Flush writes what is queued before it returns, unless ctx ends first.
func (a *Audit) Flush(ctx context.Context) {
	done := make(chan struct{})
	select {
	case a.flush <- done:
		select {
		case <-done:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
}

// settleAudit has auditlog hold the row of every command that has ended, if the
// words of this one name that table: before a snapshot is taken.
func (s *Session) settleAudit(ctx context.Context, words ...string) {
	if s.Audit != nil && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, "auditlog") }) {
		s.Audit.Flush(ctx)
	}
}

// Run writes rows until ctx is done, and then those that are left, for which
// it takes a few seconds at most. The table must stay open until it returns.
func (a *Audit) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			a.write(ctx, a.waiting(nil))
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

// write writes rows in one commit. That ctx is done does not keep it from it.
func (a *Audit) write(ctx context.Context, rows []auditRow) {
	if len(rows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditLast)
	defer cancel()
	a.tell(rows)
	var kept auditIDs
	err := a.db.Update(ctx, func(tx *nodedb.Tx) error {
		kept = a.kept.of(tx)
		for _, row := range rows {
			if row.table {
				tx.Put(auditKey(kept.add(row.reads)), row.attrs(a.host))
			}
		}
		if slices.ContainsFunc(rows, func(row auditRow) bool { return !row.reads }) {
			tx.PruneHistory(historyKeep, historyBytes)
		}
		kept.prune(tx)
		return nil
	})
	if err != nil {
		a.log.Warn("auditlog: rows are lost", "rows", len(rows), "err", err)
		return
	}
	a.kept = kept
	a.warn()
}

// tell tells syslog of the commands.
func (a *Audit) tell(rows []auditRow) {
	if !a.syslog.ready() {
		return
	}
	var lines []string
	for _, row := range rows {
		if row.syslog {
			lines = append(lines, row.line(a.host))
		}
	}
	a.syslog.tell(lines)
}

// warn says that rows were dropped, once a minute.
func (a *Audit) warn() {
	if a.dropped.Load() == 0 || time.Since(a.warned) < time.Minute {
		return
	}
	a.warned = time.Now()
	a.log.Warn("auditlog: the table is not written as fast as commands come; rows are lost", "rows", a.dropped.Swap(0))
}

func (row auditRow) attrs(host string) map[string]string {
	return map[string]string{
		"auditlog.audittime":  row.at.Format("2006-01-02 15:04:05"),
		"auditlog.userid":     row.user,
		"auditlog.clientname": row.client(host),
		"auditlog.clienttype": "cli",
		"auditlog.command":    row.command,
		"auditlog.noderange":  row.noderange,
		"auditlog.args":       row.args,
		"auditlog.status":     row.result,
		"auditlog.comments":   row.comment,
	}
}

// client is the machine that the command came from.
func (row auditRow) client(host string) string {
	if row.from == "unix" {
		return host
	}
	return row.from
}

// audited reports whether a command has a row in auditlog: all have, but those
// that the words of site.auditskipcmds are: commands, ALL, or clienttype:cli.
func audited(snap *nodedb.Snapshot, args []string) bool {
	for _, word := range siteWords(snap.Site("auditskipcmds")) {
		if word == "ALL" || word == args[0] || word == "clienttype:cli" {
			return false
		}
	}
	return true
}

// Denied queues the row of a command that was refused before it was heard, so
// that only who sent it is known. Many of them do not drive out the rows of
// commands that changed something.
func (d *Deps) Denied(name, from, why string) {
	if d.Audit == nil {
		return
	}
	snap := d.DB.Snapshot()
	row := auditRow{reads: true, table: audited(snap, []string{""}), syslog: snap.Site("auditnosyslog") != "1"}
	row.at, row.user, row.from, row.result, row.comment = time.Now(), name, from, auditDenied, why[:min(len(why), 300)]
	if row.table || row.syslog {
		d.Audit.add(row)
	}
}

// What becomes of a command, in xCAT's words.
const (
	auditAllowed = "Allowed"
	auditDenied  = "Denied"
)

// audit queues the row of a command that has ended. Its words come with secrets
// hidden.
func (s *Session) audit(began time.Time, code int, words []string) {
	args := s.Req.Args
	if s.Audit == nil || len(args) == 0 || strings.HasPrefix(args[0], "_") {
		return
	}
	snap := s.DB.Snapshot()
	row := auditRow{reads: reads(args), table: audited(snap, args), syslog: snap.Site("auditnosyslog") != "1"}
	if row.table || row.syslog {
		comment := "exit " + strconv.Itoa(code)
		if first := s.first.Load(); first != nil {
			comment += ": " + *first
		}
		row.at, row.user, row.from = began, s.Req.User, s.Req.From
		row.command, row.noderange, row.args = args[0], s.noderange, commandLine(words[1:])
		row.result, row.comment = auditAllowed, comment[:min(len(comment), 300)]
	}
	if row.table || row.syslog || !row.reads {
		s.Audit.add(row)
	}
}
