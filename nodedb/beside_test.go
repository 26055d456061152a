//go:build bench

package nodedb_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/bolt"
	"margay/nodedb/nodedbtest"
)

// besideRounds is how often each is done, by turns; what counts is the middle.
const besideRounds = 7

// A lite is a cluster as xCAT keeps it, a SQLite file of tables with a row a
// node or group in each, in the hands of the sqlite3 program. It is spoken to
// over a pipe and stays open, so that nothing but the work itself is measured.
type lite struct {
	tb  testing.TB
	in  *bufio.Writer
	out *bufio.Reader
	end func()
}

// openLite opens a file, with the settings under which SQLite is quickest while
// what was committed survives a power cut.
func openLite(tb testing.TB, file string) *lite {
	tb.Helper()
	cmd := exec.Command("sqlite3", "-batch", file)
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	l := &lite{tb: tb, in: bufio.NewWriterSize(in, 1<<20), out: bufio.NewReaderSize(out, 1<<20)}
	l.end = func() {
		in.Close()
		io.Copy(io.Discard, out)
		cmd.Wait()
	}
	l.do("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-262144;")
	return l
}

// do runs statements and returns the lines that they print.
func (l *lite) do(sql string) []string {
	l.tb.Helper()
	io.WriteString(l.in, sql)
	io.WriteString(l.in, "\nSELECT char(4);\n")
	if err := l.in.Flush(); err != nil {
		l.tb.Fatal(err)
	}
	var lines []string
	for {
		line, err := l.out.ReadString('\n')
		if err != nil {
			l.tb.Fatalf("%.100s: %v", sql, err)
		}
		if line == "\x04\n" {
			return lines
		}
		lines = append(lines, line[:len(line)-1])
	}
}

// besideTables are the tables that the fleet has rows in.
var besideTables = []string{"nodelist", "nodetype", "noderes", "nodehm", "mac", "hosts", "ipmi", "hypervisor", "nodepos", "vpd", "chain"}

// fill makes xCAT's tables and puts the records' rows into them.
func (l *lite) fill(recs []nodedb.Record) {
	var b strings.Builder
	b.WriteString("BEGIN;\n")
	for _, name := range besideTables {
		var columns []string
		for _, c := range nodedb.TableByName(name).Columns {
			columns = append(columns, fmt.Sprintf("%q TEXT", c.Name))
		}
		fmt.Fprintf(&b, "CREATE TABLE %q (%s, PRIMARY KEY (node));\n", name, strings.Join(columns, ", "))
	}
	for _, r := range recs {
		rows := make(map[string][2]string) // names and values
		for column, v := range r.Attrs {
			table, name, _ := strings.Cut(column, ".")
			if name != "" && slices.Contains(besideTables, table) {
				row := rows[table]
				rows[table] = [2]string{row[0] + ", " + fmt.Sprintf("%q", name), row[1] + ", '" + v + "'"}
			}
		}
		for table, row := range rows {
			fmt.Fprintf(&b, "INSERT INTO %q (node%s) VALUES ('%s'%s);\n", table, row[0], r.Name, row[1])
		}
	}
	b.WriteString("COMMIT;")
	l.do(b.String())
}

// pairs are the two columns of a query's rows.
func (l *lite) pairs(sql string) map[string]string {
	m := make(map[string]string)
	for _, line := range l.do(sql) {
		k, v, _ := strings.Cut(line, "|")
		m[k] = v
	}
	return m
}

// group returns how many members of a group have a method of hardware control,
// their own or that of the first of their groups that has one.
func (l *lite) group(name string) (found int) {
	mgt := l.pairs("SELECT node, mgt FROM nodehm;")
	for node, groups := range l.pairs("SELECT node, groups FROM nodelist WHERE ',' || groups || ',' LIKE '%," + name + ",%';") {
		for _, from := range append([]string{node}, strings.Split(groups, ",")...) {
			if mgt[from] != "" {
				found++
				break
			}
		}
	}
	return found
}

// list writes every node's attributes, inherited ones too, as lsdef does.
func (l *lite) list() int {
	own := make(map[string][][2]string) // node or group: columns and values
	groups := make(map[string]string)
	for _, name := range besideTables {
		t := nodedb.TableByName(name)
		for _, line := range l.do(fmt.Sprintf("SELECT * FROM %q;", name)) {
			cells := strings.Split(line, "|")
			if name == "nodelist" {
				groups[cells[0]] = cells[1]
			}
			for i, v := range cells[1:] {
				if v != "" {
					own[cells[0]] = append(own[cells[0]], [2]string{t.Columns[i+1].Name, v})
				}
			}
		}
	}
	var b strings.Builder
	for node, list := range groups {
		b.WriteString("Object name: " + node + "\n")
		shown := make(map[string]bool, 32)
		for _, from := range append([]string{node}, strings.Split(list, ",")...) {
			for _, c := range own[from] {
				if !shown[c[0]] {
					shown[c[0]] = true
					b.WriteString("    " + c[0] + "=" + c[1] + "\n")
				}
			}
		}
	}
	return b.Len()
}

// A bout is one kind of work, done by both by turns. It returns how much was
// found.
type bout struct {
	what         string
	want         int
	ours, theirs func(round int) int
}

// fight prints a line of a table: the middle of the rounds, and the ratio.
func (b bout) fight(t *testing.T, n int) {
	t.Helper()
	measure := func(who string, run func(int) int, round int) time.Duration {
		runtime.GC()
		began := time.Now()
		found := run(round)
		took := time.Since(began)
		if found != b.want {
			t.Fatalf("%s, %s: %d, want %d", b.what, who, found, b.want)
		}
		return took
	}
	var ours, theirs []time.Duration
	for round := range besideRounds {
		ours = append(ours, measure("margay", b.ours, round))
		theirs = append(theirs, measure("SQLite", b.theirs, round))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	o, x := ours[besideRounds/2], theirs[besideRounds/2]
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	fmt.Printf("| %s | %d | %.3g | %.3g | %.2g |\n", b.what, n, ms(o), ms(x), float64(x)/float64(max(o, 1)))
}

// TestBenchTable prints the table beside SQLite:
// go test -tags bench -run TestBenchTable -v ./nodedb
func TestBenchTable(t *testing.T) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("no sqlite3 here; it is in Debian's package sqlite3")
	}
	fmt.Println("| what | nodes | margay, ms | SQLite, ms | SQLite / margay |\n|---|---|---|---|---|")
	for _, n := range []int{10_000, 100_000} {
		beside(t, n)
	}
}

func beside(t *testing.T, n int) {
	dir := t.TempDir()
	recs := fleet(n)
	file, other := filepath.Join(dir, "margay.db"), filepath.Join(dir, "xcat.sqlite")
	db := openTable(t, file)
	nodedbtest.Put(t, db, recs...)
	l := openLite(t, other)
	l.fill(recs)
	db.Snapshot().Nodes()
	for _, b := range bouts(t, db, l, n) {
		b.fight(t, n)
	}
	db.Close()
	l.end()
	bout{"start, and one node asked for", 1, func(int) int {
		db := openTable(t, file)
		defer db.Close()
		_, err := db.Snapshot().Node("n77")
		return flag(err == nil)
	}, func(int) int {
		l := openLite(t, other)
		defer l.end()
		return len(l.do("SELECT node FROM nodelist WHERE node = 'n77';"))
	}}.fight(t, n)
	fmt.Printf("| file, MB | %d | %.0f | %.0f | |\n", n, megabytes(t, file), megabytes(t, other))
}

func flag(ok bool) int {
	if ok {
		return 1
	}
	return 0
}

func megabytes(t *testing.T, file string) float64 {
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return float64(info.Size()) / (1 << 20)
}

func openTable(t *testing.T, file string) *nodedb.DB {
	t.Helper()
	store, err := bolt.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	db, err := nodedb.New(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func bouts(t *testing.T, db *nodedb.DB, l *lite, n int) []bout {
	inRack, re, matching := 0, regexp.MustCompile(`^(?:n1.*7)$`), 0
	ranged := make(map[string]bool)
	for i := range n {
		inRack += flag(i%300 == 7)
		matching += flag(re.MatchString(fmt.Sprintf("n%d", i+1)))
		if i < 10_000 {
			ranged[fmt.Sprintf("n%d", i+1)] = true
		}
	}
	expand := func(r string) func(int) int {
		return func(int) int {
			list, err := db.Snapshot().Expand(r)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
	}
	set := func(names []string, status string) int {
		err := db.Update(context.Background(), func(tx *nodedb.Tx) error {
			for _, name := range names {
				tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: name}, "nodelist.status", status)
			}
			return nil
		})
		return flag(err == nil)
	}
	among := func(is func(string) bool) func(int) int {
		return func(int) (found int) {
			for _, name := range l.do("SELECT node FROM nodelist;") {
				found += flag(is(name))
			}
			return found
		}
	}
	return []bout{
		{"one attribute of one node, durable", 1, func(r int) int { return set([]string{fmt.Sprintf("n%d", r*7+1)}, fmt.Sprint("a", r)) },
			func(r int) int {
				return flag(len(l.do(fmt.Sprintf("UPDATE nodelist SET status = 'a%d' WHERE node = 'n%d';", r, r*7+1))) == 0)
			}},
		{"one attribute of all nodes, durable", 1, func(r int) int { return set(db.Snapshot().NodeNames(), fmt.Sprint("b", r)) },
			func(r int) int { return flag(len(l.do(fmt.Sprintf("UPDATE nodelist SET status = 'b%d';", r))) == 0) }},
		{"a group of a 300th, with an inherited attribute", inRack, func(int) (found int) {
			for _, m := range db.Snapshot().Members("rack007") {
				found += flag(m.Mgt != "")
			}
			return found
		}, func(int) int { return l.group("rack007") }},
		{"full lsdef", 1, func(int) int { return flag(listAll(db) > n) }, func(int) int { return flag(l.list() > n) }},
		{"a range of 10,000 nodes", 10_000, expand("n[1-10000]"), among(func(name string) bool { return ranged[name] })},
		{"an expression, /n1.*7", matching, expand("/n1.*7"), among(re.MatchString)},
		{"a selection, vpd.serial==", 1, expand("vpd.serial==SN00000700"), func(int) int { return len(l.do("SELECT node FROM vpd WHERE serial = 'SN00000700';")) }},
		{"a node by its MAC", 1, func(r int) int { return flag(db.Snapshot().NodeByMAC(fleetMAC(5000+r)) != nil) },
			func(r int) int {
				return len(l.do(fmt.Sprintf("SELECT node FROM mac WHERE mac = '%s';", fleetMAC(5000+r))))
			}},
	}
}

// listAll writes every node's attributes, as lsdef does.
func listAll(db *nodedb.DB) int {
	var b strings.Builder
	node := nodedb.TypeByName("node")
	view := nodedb.NewView(db.Snapshot())
	for _, name := range view.Names(node) {
		o, _ := view.Object(node, name)
		b.WriteString("Object name: " + name + "\n")
		for _, v := range o.Values {
			b.WriteString("    " + v.Name + "=" + v.Text + "\n")
		}
	}
	return b.Len()
}
