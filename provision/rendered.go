package provision

import (
	lru "container/list"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// Files without secrets of their own (boot.cfg, script, grub.cfg) are kept once
// they are made, and sent again as long as everything they follow from is as it
// was. Who may have them is decided before, at every request. Files with secrets,
// which want the token of the boot, are not kept: they are asked for once in a
// boot, and what is not in memory cannot be sent to the wrong one.
//
// What is checked at every request: the definitions and the node's own record,
// by their revisions; attempt and try; how the machine asks; the operator's
// templates and what a stateless host saved, by a stat each. Install trees, which
// copycds alone is to change, are looked at again after treeCheck.
const (
	maxRendered = 32 << 20    // bytes that are kept
	treeCheck   = time.Second // how long files of an install tree are taken to be as they were
)

// isKept says whether a file is kept once it is made. Probes that change
// nothing see what a machine would, made anew.
func (s *Service) isKept(file string, m netboot.Machine) bool {
	return (file == "boot.cfg" || file == "script" || file == grubMenu) && !s.dry(m)
}

// An origin is what a rendered file follows from, but for files on disk.
type origin struct {
	definitions int64 // when they last changed, but for the nodes
	node        int64 // when the node did
	secret      string
	try, step   int
	server      netip.Addr
	firmware    netboot.Firmware
	httpBoot    bool
	tftp, tls   bool
}

// origin is what a file would follow from that a machine asks for now.
func (s *Service) origin(snap *nodedb.Snapshot, n *nodedb.Node, a *Attempt, try int, m netboot.Machine) origin {
	o := origin{
		definitions: s.renders.definitionsOf(snap), node: snap.NodeChanged(n.Name), try: try,
		server: s.facing(snap, n, m.Local), firmware: m.Firmware, httpBoot: m.HTTPBoot, tftp: m.TFTP, tls: m.TLS,
	}
	if m.Firmware == netboot.FirmwareUnknown {
		o.firmware, o.httpBoot = s.journal.firmwareOf(n.Name)
	}
	if a != nil {
		o.secret, o.step = a.Secret, a.Step
	}
	return o
}

// A rendered is a file that was made for a node.
type rendered struct {
	text    []byte
	modules *modules // what the loader fetches next; nil if the file names none
	from    origin
	seen    *witness
	checked atomic.Int64 // when the tree's files were last looked at, in ns
}

type renderedKey struct{ node, file string }

// A renders keeps rendered files, those last asked for.
type renders struct {
	mu    sync.Mutex // guards the fields below
	files map[renderedKey]*lru.Element
	order lru.List // of kept, the one last asked for in front
	size  int

	definitions atomic.Pointer[definitions]
}

type kept struct {
	key renderedKey
	*rendered
}

// definitions is when the definitions last changed, as of a revision.
type definitions struct{ of, changed int64 }

// definitionsOf is when what files are made from last changed: all but nodes,
// which have a revision each, and what is noted of machines as they go.
func (c *renders) definitionsOf(snap *nodedb.Snapshot) int64 {
	d := c.definitions.Load()
	if d == nil || d.of != snap.Rev() {
		d = &definitions{snap.Rev(), snap.Changed(isDefinition)}
		c.definitions.Store(d)
	}
	return d.changed
}

// isDefinition says whether a kind's records may bear on a file that is kept.
func isDefinition(k nodedb.Kind) bool {
	switch k {
	case nodedb.KindNode, kindAttempt: // a node's own are in its file's origin
		return false
	case kindTimeline, kindLease, kindLeaseName, kindReserved, kindName, kindWithdrawn, kindDiscovered, kindSequential, kindSighted, KindHostKey, nodedb.KindHistory, nodedb.KindHistoryPart:
		return false
	}
	return true
}

// get returns a file as it was made, if nothing it follows from has changed.
func (c *renders) get(k renderedKey, from origin, now time.Time) *rendered {
	c.mu.Lock()
	e := c.files[k]
	if e != nil {
		c.order.MoveToFront(e)
	}
	c.mu.Unlock()
	if e == nil {
		return nil
	}
	r := e.Value.(kept).rendered
	if r.from != from || !r.seen.stands() {
		return nil
	}
	if since := now.UnixNano() - r.checked.Load(); since < 0 || since >= int64(treeCheck) {
		if !r.seen.treeStands() {
			return nil
		}
		r.checked.Store(now.UnixNano())
	}
	return r
}

// put keeps a file in place of what was kept under its name.
func (c *renders) put(k renderedKey, r *rendered, now time.Time) {
	if !r.seen.sure() {
		return
	}
	r.checked.Store(now.UnixNano())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.files[k])
	if c.files == nil {
		c.files = map[renderedKey]*lru.Element{}
	}
	c.files[k] = c.order.PushFront(kept{k, r})
	for c.size += r.size(); c.size > maxRendered; {
		c.drop(c.order.Back())
	}
}

func (c *renders) drop(e *lru.Element) {
	if e == nil {
		return
	}
	old := c.order.Remove(e).(kept)
	delete(c.files, old.key)
	c.size -= old.size()
}

// size is about what a rendered file takes in memory, in bytes.
func (r *rendered) size() int {
	n := 512 + cap(r.text)
	if r.modules != nil {
		for name := range r.modules.size {
			n += 48 + len(name)
		}
	}
	for _, l := range slices.Concat(r.seen.files, r.seen.tree) {
		n += 128 + len(l.name)
	}
	return n
}

// A witness notes the files on disk that a rendered file is made from, as they
// were before they were read. It is nil where nobody wants to know.
type witness struct {
	files   []look // by path
	tree    []look // install trees and what is in them
	trees   int    // how many there are
	private bool   // something was asked for that is not to be kept
	fresh   bool   // a file was changed just now
}

// A look is how a file was found.
type look struct {
	fsys fs.FS // nil: the host's
	of   int   // which of the trees it is
	name string
	stamp
}

// A stamp tells a file from what it was before; zero if it is not there.
type stamp struct {
	ino, size    uint64
	mtime, ctime int64
	mode         fs.FileMode
}

// tick is more than the granularity of files' times: what was changed later than
// that ago may change again and not show.
const tick = 100 * time.Millisecond

func (l look) now() stamp {
	var fi fs.FileInfo
	var err error
	if l.fsys == nil {
		fi, err = os.Stat(l.name)
	} else {
		fi, err = fs.Stat(l.fsys, l.name)
	}
	if err != nil {
		return stamp{}
	}
	st := stamp{size: uint64(fi.Size()), mtime: fi.ModTime().UnixNano(), mode: fi.Mode()}
	if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
		st.ino, st.ctime = sys.Ino, sys.Ctim.Nano()
	}
	return st
}

// file notes a file of the host's.
func (w *witness) file(name string) {
	if w != nil && name != "" {
		w.note(&w.files, look{name: name})
	}
}

// source notes what an install tree is in: its directory, its medium. copycds
// changes the table as well.
func (w *witness) source(name string) {
	if w != nil && name != "" {
		w.note(&w.tree, look{name: name})
	}
}

// secret notes that something is asked for that is not to be kept.
func (w *witness) secret() {
	if w != nil {
		w.private = true
	}
}

func (w *witness) note(list *[]look, l look) {
	if slices.ContainsFunc(*list, func(o look) bool { return o.name == l.name && o.of == l.of }) {
		return
	}
	l.stamp = l.now()
	w.fresh = w.fresh || l.ctime != 0 && time.Since(time.Unix(0, l.ctime)) < tick
	*list = append(*list, l)
}

// sure says whether what was noted is all, and would show a change.
func (w *witness) sure() bool { return !w.private && !w.fresh }

func (w *witness) stands() bool     { return stand(w.files) }
func (w *witness) treeStands() bool { return stand(w.tree) }

func stand(list []look) bool {
	return !slices.ContainsFunc(list, func(l look) bool { return l.now() != l.stamp })
}

// watch has a boot tell the witness what is read for it.
func (w *witness) watch(s *Service, b *Boot) {
	b.Looked = w.file
	state := b.State
	b.State = func() ([]byte, error) {
		w.file(s.stateDir(b.Node.Name))
		return state()
	}
	cert := b.HostCert
	b.HostCert = func(given bool, names HostNames) (*HostCert, error) {
		w.secret()
		return cert(given, names)
	}
}

// watchTree is fsys, watched.
func (w *witness) watchTree(fsys fs.FS) fs.FS {
	if w == nil || fsys == nil {
		return fsys
	}
	w.trees++
	return watchedFS{fsys, w, w.trees}
}

// A watchedFS tells a witness which files are looked at.
type watchedFS struct {
	fs.FS
	w  *witness
	of int
}

func (f watchedFS) look(name string) { f.w.note(&f.w.tree, look{fsys: f.FS, of: f.of, name: name}) }

func (f watchedFS) Open(name string) (fs.File, error) {
	f.look(name)
	return f.FS.Open(name)
}

func (f watchedFS) Stat(name string) (fs.FileInfo, error) {
	f.look(name)
	return fs.Stat(f.FS, name)
}

func (f watchedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.look(name)
	return fs.ReadDir(f.FS, name)
}

func (f watchedFS) ReadFile(name string) ([]byte, error) {
	f.look(name)
	return fs.ReadFile(f.FS, name)
}

// plainFile is a file's name without the directory, named by their MAC, below
// which UEFI loaders look for boot.cfg.
func plainFile(file string) string {
	if dir, rest, ok := strings.Cut(file, "/"); ok && rest == "boot.cfg" && strings.HasPrefix(dir, "01-") {
		return rest
	}
	return file
}
