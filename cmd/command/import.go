package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var importCmd = &Command{
	Name:  "import",
	Usage: "xcat directory [--hosts file] [-a] [--dry-run] [--yes]",
	Short: "take over the tables that xCAT's dumpxCATdb wrote, and its /etc/hosts",
	Long: `Take over an xCAT cluster: every TABLE.csv of a directory on the server, as
xCAT's dumpxCATdb writes them, takes the place of the table here; of the site
table, keys that the file does not have stay. Nodes without an ip get that of
the hosts file: hosts or etc/hosts in the directory, else the server's own.

Says for each table what was taken, what was changed and why, and what will not
work as it did. --dry-run says it and changes nothing; margay undo takes an
import back.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.String("hosts", "", "hosts file with the nodes' addresses; none: do without")
		f.BoolP("all", "a", false, "auditlog and eventlog too")
		f.Bool("dry-run", false, "say what would be taken, and change nothing")
		f.Bool("yes", false, "although there are nodes in the table already")
	},
	Run: importTables,
}

func importTables(ctx context.Context, s *Session, args []string) error {
	if len(args) != 2 || args[0] != "xcat" {
		return Usagef("xcat and a directory are wanted")
	}
	if s.remote() {
		return errors.New("the directory is one of the server: run this there")
	}
	im := &importer{s: s, dir: s.Path(args[1])}
	if err := im.read(); err != nil {
		return err
	}
	if n := len(s.DB.Snapshot().Nodes()); n > 0 && !s.Bool("yes") && !s.Bool("dry-run") {
		return fmt.Errorf("there are %d nodes already, and the import takes their place; make a backup with margay backup, then say --yes", n)
	}
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		im.notes = nil
		if err := im.apply(tx); err != nil {
			return err
		}
		if s.Bool("dry-run") {
			return errDry
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDry) {
		return plain(err)
	}
	im.report()
	if err != nil {
		s.Line("Dry run: nothing was changed.")
		return nil
	}
	s.Line("Imported. margay check looks for what is wrong at any time; margay undo takes the import back.")
	return nil
}

// An importer takes over a directory.
type importer struct {
	s     *Session
	dir   string
	files []tableFile
	lines []string // about what was read
	notes []string // about what came of it
	warns []nodedb.Doubt
	hosts map[string]hostLine
	from  string // the hosts file
}

// A hostLine is a line of a hosts file.
type hostLine struct {
	addr  netip.Addr
	names []string
}

func (im *importer) say(format string, args ...any) {
	im.lines = append(im.lines, fmt.Sprintf(format, args...))
}

func (im *importer) note(format string, args ...any) {
	im.notes = append(im.notes, fmt.Sprintf(format, args...))
}

// read reads all files, so that a broken one is known before anything is done.
func (im *importer) read() error {
	names, err := csvFiles(im.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(im.dir, name))
		if err != nil {
			return err
		}
		if err := im.readTable(name, string(text)); err != nil {
			return fmt.Errorf("%s: %w", name, plain(err))
		}
	}
	return im.readHosts()
}

func (im *importer) readTable(name, text string) error {
	t := nodedb.TableByName(tableOf(name))
	if t == nil {
		if rows := strings.Count(text, "\n\""); rows > 0 {
			im.say("%s: not taken, %d rows: xCAT has no such table", tableOf(name), rows)
		}
		return nil
	}
	rows, lost, recoded, err := nodedb.ParseForeignCSV(t, text)
	if err != nil {
		return err
	}
	if slices.Contains(logTables, t.Name) && !im.s.Bool("all") {
		if len(rows) > 0 {
			im.say("%s: not taken, %d rows: a log; -a takes it", t.Name, len(rows))
		}
		return nil
	}
	if recoded {
		im.say("%s: changed: the file is not UTF-8 and was read as Latin-1", t.Name)
	}
	for _, l := range lost {
		if l.Values > 0 {
			im.say("%s: not taken, %d values of column %s: the table has no such column", t.Name, l.Values, l.Column)
		}
	}
	if len(rows) > 0 {
		im.say("%s: %d rows taken", t.Name, len(rows))
	}
	im.files = append(im.files, tableFile{t, rows})
	return nil
}

// readHosts reads the hosts file: that which was named, or the first there is.
func (im *importer) readHosts() error {
	names := []string{filepath.Join(im.dir, "hosts"), filepath.Join(im.dir, "etc", "hosts"), "/etc/hosts"}
	switch given := im.s.String("hosts"); given {
	case "":
	case "none":
		return nil
	default:
		names = []string{im.s.Path(given)}
	}
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) && len(names) > 1 {
			continue
		}
		if err != nil {
			return fmt.Errorf("hosts file: %w", err)
		}
		defer f.Close()
		im.from, im.hosts = name, make(map[string]hostLine)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			im.addHost(lines.Text())
		}
		return nil
	}
	return nil
}

// addHost notes a line under its names, in full and up to the first dot. The
// first line of a name counts, as in hosts(5).
func (im *importer) addHost(text string) {
	text, _, _ = strings.Cut(text, "#")
	words := strings.Fields(text)
	if len(words) < 2 {
		return
	}
	addr, err := netip.ParseAddr(words[0])
	if err != nil || addr.IsLoopback() || addr.Zone() != "" {
		return
	}
	line := hostLine{addr, words[1:]}
	for _, name := range line.names {
		short, _, _ := strings.Cut(name, ".")
		for _, key := range []string{name, short} {
			if _, there := im.hosts[key]; !there {
				im.hosts[key] = line
			}
		}
	}
}

// apply makes the change.
func (im *importer) apply(tx *nodedb.Tx) error {
	before := tx.Snapshot()
	if err := im.replace(nodedb.Edit(tx)); err != nil {
		return err
	}
	im.ownSite(tx, before)
	snap := tx.Result()
	im.addresses(tx, snap)
	snap = tx.Result()
	im.look(snap)
	im.warns = append(snap.Check(), snap.Doubts(snap.NodeNames())...)
	return nil
}

// replace puts the rows in place; keys of site that are not among them stay.
func (im *importer) replace(e *nodedb.Editor) error {
	var whole []tableFile
	for _, f := range im.files {
		if f.t.Name != "site" {
			whole = append(whole, f)
		}
	}
	if err := replaceTables(e, whole); err != nil {
		return err
	}
	for _, f := range im.files {
		if f.t.Name == "site" {
			return e.ReplaceTable(f.t, f.rows, true)
		}
	}
	return nil
}

// ownSite keeps settings of this machine where the other one's cannot hold.
func (im *importer) ownSite(tx *nodedb.Tx, before *nodedb.Snapshot) {
	for _, key := range []string{"installdir", "tftpdir"} {
		k := nodedb.Key{Kind: nodedb.KindSite, Name: key}
		r, _ := tx.Get(k)
		theirs, ours := r.Attrs["site.value"], before.Site(key)
		if theirs == "" || theirs == ours || ours == "" {
			continue
		}
		if _, err := os.Stat(theirs); err != nil {
			tx.Set(k, "site.value", ours)
			im.note("site: changed: %s stays %s: %s is not on this machine", key, ours, theirs)
		}
	}
}

// addresses gives nodes without an ip that of the hosts file.
func (im *importer) addresses(tx *nodedb.Tx, snap *nodedb.Snapshot) {
	taken := 0
	for _, n := range snap.Nodes() {
		line, ok := im.hosts[n.Name]
		switch {
		case !ok || n.Check() != nil:
		case !n.Addr.IsValid():
			k := nodedb.Key{Kind: nodedb.KindNode, Name: n.Name}
			tx.Set(k, "hosts.ip", line.addr.String())
			if alias := line.aliases(n.Name); alias != "" && len(n.Aliases) == 0 {
				tx.Set(k, "hosts.hostnames", alias)
			}
			taken++
		case n.Addr != line.addr:
			im.note("hosts: %s has ip %s in the table, and %s in %s; the table's was taken", n.Name, n.Addr, line.addr, im.from)
		}
	}
	if taken > 0 {
		im.note("hosts: changed: %d nodes without ip have theirs from %s", taken, im.from)
	}
}

// aliases are a line's names that are neither the node's nor its name in full.
func (l hostLine) aliases(node string) string {
	var out []string
	for _, name := range l.names {
		if name != node && !strings.HasPrefix(name, node+".") {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// look says what will not be as it was.
func (im *importer) look(snap *nodedb.Snapshot) {
	if master, err := netip.ParseAddr(snap.Site("master")); err == nil && !slices.ContainsFunc(im.s.served(), func(i provision.Interface) bool {
		return slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Addr() == master })
	}) {
		im.note("site: master is %s, which is no address of this server", master)
	}
	if strings.Contains(snap.Site("auditskipcmds"), "ALL") {
		im.note("site: auditskipcmds=ALL, xCAT's default: no command is kept in auditlog until chdef -t site auditskipcmds=")
	}
	pending := 0
	loaders := map[string]int{}
	for _, n := range snap.Nodes() {
		if n.Mode.Loads() && !provision.HasAttempt(snap, n.Name) {
			pending++
		}
		switch n.Netboot {
		case "", "xnba", "pxe", "http", "uefi":
		default:
			loaders[n.Netboot]++
		}
	}
	if pending > 0 {
		im.note("chain: %d nodes are set to install; say nodeset again for those that shall", pending)
	}
	for _, name := range sorted(loaders) {
		im.note("noderes: netboot=%s of %d nodes is not served here; xnba takes its place", name, loaders[name])
	}
}

func sorted(m map[string]int) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// maxDoubts is how many doubts an import prints.
const maxDoubts = 30

func (im *importer) report() {
	for _, line := range append(im.lines, im.notes...) {
		im.s.Line("%s", line)
	}
	for i, d := range im.warns {
		if i == maxDoubts {
			im.s.Warn("%d more; margay check names them all", len(im.warns)-i)
			break
		}
		im.s.NodeWarn(d.Node, "%s", d.Text)
	}
}
