package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision/api"
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
	a.write(t.Context(), []auditRow{{}})
	if h := db.Snapshot().History(); len(h) != historyKeep || h[0].Run != "5" {
		t.Errorf("%d entries of history are left, want %d", len(h), historyKeep)
	}
	for i := range 10 {
		var rows []auditRow
		for j := range 5 {
			rows = append(rows, auditRow{table: true, command: fmt.Sprint(i*5 + j)})
		}
		a.write(t.Context(), rows)
	}
	rows := db.Snapshot().Rows(nodedb.TableByName("auditlog"))
	if n := len(rows); n > 20 || n < 15 || rows[n-1].Values[0] != "50" || rows[n-1].Values[5] != "49" {
		t.Errorf("%d rows are left: %v", n, rows)
	}
	// Rows that came otherwise do not get in the way.
	nodedbtest.Put(t, db, nodedbtest.Record("auditlog", "51", "auditlog.command=restored"))
	a.write(t.Context(), []auditRow{{table: true, command: "next"}})
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

// Commands that only look do not drive out those that change something, and
// what was tabrestored counts.
func TestAuditBoundsOfReads(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Site("auditreadsmax", "10"),
		nodedbtest.Record("auditlog", "1", "auditlog.command=chdef", "auditlog.args=n1 os=x"),
		nodedbtest.Record("auditlog", "2", "auditlog.command=lsdef", "auditlog.args=n1"))
	a := NewAudit(db, slog.New(slog.DiscardHandler))
	for range 8 {
		var rows []auditRow
		for range 5 {
			rows = append(rows, auditRow{table: true, reads: true, command: "lsdef"})
		}
		a.write(t.Context(), append(rows, auditRow{table: true, command: "rpower"}))
	}
	count := func() map[string]int {
		n := make(map[string]int)
		for _, r := range db.Snapshot().Records("auditlog") {
			n[r.Attrs["auditlog.command"]]++
		}
		return n
	}
	if n := count(); n["chdef"] != 1 || n["rpower"] != 8 || n["lsdef"] > 10 || n["lsdef"] < 5 {
		t.Errorf("rows are left of %v", n)
	}
	for i := range 20 {
		nodedbtest.Put(t, db, nodedbtest.Record("auditlog", fmt.Sprint(1000+i), "auditlog.command=nodels"))
	}
	a.write(t.Context(), []auditRow{{table: true, reads: true, command: "last"}})
	if n := count(); n["last"] != 1 || n["lsdef"] != 0 || n["nodels"] > 10 {
		t.Errorf("rows are left of %v", n)
	}
}

// Which commands have a row is what auditskipcmds says.
func TestAuditSkips(t *testing.T) {
	tests := []struct {
		skip string
		want string
	}{
		{"", "lsdef chdef"},
		{"ALL", ""},
		{"tabdump,lsdef", "chdef"},
		{"chdef lsdef", ""},
		{"clienttype:web", "lsdef chdef"},
		{"clienttype:cli,clienttype:web", ""},
		{"none", "lsdef chdef"},
	}
	for _, tt := range tests {
		snap := nodedbtest.New(t, nodedbtest.Site("auditskipcmds", tt.skip)).Snapshot()
		var got []string
		for _, word := range []string{"lsdef", "chdef"} {
			if audited(snap, []string{word, "n1"}) {
				got = append(got, word)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("auditskipcmds=%s: rows of %q, want %q", tt.skip, s, tt.want)
		}
	}
}

// What waits when the daemon ends is written, not reported as lost.
func TestAuditEnds(t *testing.T) {
	db := nodedbtest.New(t)
	var said bytes.Buffer
	a := NewAudit(db, slog.New(slog.NewTextHandler(&said, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	for i := range 50 {
		if a.add(auditRow{table: true, command: fmt.Sprint(i)}); i == 25 {
			cancel()
		}
	}
	<-done
	a.Run(ctx) // what came after it had looked last
	if n := db.Snapshot().Count(kindAudit); n != 50 || said.Len() > 0 {
		t.Errorf("%d rows were written, want 50; said: %s", n, said.String())
	}
}

// Syslog is told in xCAT's words, one line a command, and no secret.
func TestAuditSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := NewAudit(nodedbtest.New(t), slog.New(slog.DiscardHandler))
	a.syslog.path, a.host = path, "mn"
	a.write(t.Context(), []auditRow{
		{syslog: true, command: "lsdef", noderange: "n1", args: "n1\n-i os", user: "root", from: "unix"},
		{table: true, command: "silent"},
		{syslog: true, user: "nobody", from: "unix", result: auditDenied},
		{syslog: true, command: "tabdump", user: "root", from: "unix"},
	})
	l.SetReadDeadline(time.Now().Add(time.Minute))
	for _, want := range []string{`: xCAT: Allowing lsdef to n1 n1 -i os for root from mn$`, `: xCAT: Denying a command for nobody from mn$`, `: xCAT: Allowing tabdump for root from mn$`} {
		buf := make([]byte, 1000)
		n, _, err := l.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:n]); !regexp.MustCompile(`^<166>\w{3} [ \d]\d \d\d:\d\d:\d\d xCAT\[\d+\]` + want).MatchString(got) {
			t.Errorf("syslog was told %q, want %s", got, want)
		}
	}
	// Without one nobody waits.
	a.syslog = sysLog{path: path + "none"}
	a.write(t.Context(), []auditRow{{syslog: true, command: "lsdef"}})
}

// TestAuditDenied: who may not run commands has a row in auditlog all the same.
func TestAuditDenied(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Site("auditnosyslog", "1"))
	deps := &Deps{DB: db, Audit: NewAudit(db, slog.New(slog.DiscardHandler))}
	s := httptest.NewServer(&api.Server{
		Run:       func(context.Context, *api.Request, *api.Conn) int { t.Error("a command ran"); return 0 },
		Authorize: func(*http.Request) (string, error) { return "mallory", errors.New("Permission denied for request") },
		Denied:    deps.Denied, Log: slog.New(slog.DiscardHandler),
	})
	defer s.Close()
	var from string
	client := &api.Client{Dial: func(context.Context) (net.Conn, error) {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err == nil {
			from = conn.LocalAddr().String()
		}
		return conn, err
	}}
	if _, err := client.Run(t.Context(), &api.Request{Args: []string{"rpower", "n1", "off"}}, nil, io.Discard, io.Discard); err == nil {
		t.Error("not refused")
	}
	deps.Audit.write(t.Context(), deps.Audit.waiting(nil))
	rows := db.Snapshot().Records(kindAudit)
	if len(rows) != 1 {
		t.Fatalf("rows: %v", rows)
	}
	for column, want := range map[string]string{"userid": "mallory", "clientname": from, "status": "Denied", "comments": "Permission denied for request"} {
		if got := rows[0].Attrs["auditlog."+column]; got != want {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
	nodedbtest.Put(t, db, nodedbtest.Site("auditskipcmds", "ALL"))
	deps.Denied("mallory", from, "no")
	if len(deps.Audit.queue) > 0 {
		t.Error("auditskipcmds=ALL has no say")
	}
}

// Whoever reads auditlog after a command has ended sees its row, by whatever
// command.
func TestAuditIsRead(t *testing.T) {
	p := newPrompt(t)
	p.deps.Audit = NewAudit(p.deps.DB, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.deps.Audit.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for i, tt := range []struct{ line, want string }{
		{"tabdump auditlog", `"mark0"`},
		{"tabdump -w args==mark1 auditlog", `"mark1"`},
		{"lsdef -t auditlog -l", "args=mark2"},
		{"lsdef -t auditlog -w args==mark3", "(auditlog)"},
		{"gettab args=mark4 auditlog.command", "tabgrep"},
		{"rmdef -t auditlog 11", "1 object definitions"}, // two rows a round
		{"tabprune auditlog -V -a", `"mark6"`},
	} {
		p.run(t, fmt.Sprint("tabgrep mark", i), "")
		if out := p.run(t, tt.line, ""); !strings.Contains(out, tt.want) {
			t.Errorf("%s: %q is not in %s", tt.line, tt.want, out)
		}
	}
}

func BenchmarkAudit(b *testing.B) {
	a := NewAudit(nodedbtest.New(b), slog.New(slog.DiscardHandler))
	row := auditRow{
		table: true, reads: true, at: time.Now(), user: "root", from: "unix", command: "lsdef",
		noderange: "n1-n100", args: "n1-n100 -i os,arch", result: "Allowed", comment: "exit 0",
	}
	rows := slices.Repeat([]auditRow{row}, auditBatch)
	for range auditReads/auditBatch + 3 {
		a.write(b.Context(), rows)
	}
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	n := 0
	for b.Loop() {
		a.write(b.Context(), rows)
		n += len(rows)
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/1000/float64(n), "µs-of-processor/row")
}
