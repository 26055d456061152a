package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"margay/nodedb"
)

// ParseFile reads a file of a datastore as it is typed: "[ds] dir/file",
// "/vmfs/volumes/ds/dir/file", or "ds:dir/file", which shells leave alone.
func ParseFile(s string) (Path, error) {
	p, err := parseFile(s)
	if err != nil {
		return p, err
	}
	p.File = strings.Trim(p.File, "/")
	for _, part := range strings.Split(p.File, "/") {
		if part == ".." || part == "." || part == "" && p.File != "" {
			return Path{}, Errorf(ErrInvalid, "%q: a path on a datastore has no empty parts, \".\" or \"..\"", s)
		}
	}
	if strings.ContainsAny(p.Datastore+p.File, "\r\n\x00") {
		return Path{}, Errorf(ErrInvalid, "%q has a line break in it", s)
	}
	return p, nil
}

func parseFile(s string) (Path, error) {
	if strings.HasPrefix(s, "[") {
		return ParsePath(s)
	}
	if strings.HasPrefix(s, "/vmfs/volumes/") {
		return ParseVolume(s)
	}
	ds, file, ok := strings.Cut(s, ":")
	if !ok || ds == "" || strings.Contains(ds, "/") {
		return Path{}, Errorf(ErrInvalid, "%q is no datastore path; write \"datastore:dir/file\" or \"[datastore] dir/file\"", s)
	}
	return Path{ds, file}, nil
}

// A Files is one host's datastores, to move files to and from.
type Files struct {
	hv   Hypervisor
	fs   Filer
	host *Host
	e    Endpoint
}

// Files opens a host's datastores.
func (m *Manager) Files(ctx context.Context, snap *nodedb.Snapshot, node string) (*Files, error) {
	e, err := Route(snap, node)
	if err != nil {
		return nil, err
	}
	hv, err := m.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	return m.files(ctx, snap, hv, node, e)
}

func (m *Manager) files(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, node string, e Endpoint) (*Files, error) {
	fs, ok := as[Filer](hv)
	if !ok {
		return nil, ErrUnsupported
	}
	name, err := m.hostName(ctx, snap, hv, node)
	if err != nil {
		return nil, err
	}
	h, err := hv.Host(ctx, name)
	if err != nil {
		return nil, err
	}
	if hv.About().Kind == ESX {
		h.Name = node
	}
	return &Files{hv: hv, fs: fs, host: h, e: e}, nil
}

// Datastores are the host's, by name.
func (f *Files) Datastores() []Datastore {
	list := slices.Clone(f.host.Datastores)
	slices.SortFunc(list, func(a, b Datastore) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// on finds a path's datastore, for writing if write is set.
func (f *Files) on(p Path, write bool) (*Datastore, error) {
	d := f.host.Datastore(p.Datastore)
	switch {
	case d == nil:
		return nil, Errorf(ErrNotFound, "there is no datastore %q; there are %s", p.Datastore, strings.Join(f.names(), ", "))
	case !d.Accessible:
		return nil, Errorf(ErrNotFound, "datastore %s is not accessible", d.Name)
	case write && d.ReadOnly:
		return nil, Errorf(ErrInvalid, "datastore %s is mounted for reading only", d.Name)
	}
	return d, nil
}

func (f *Files) names() []string {
	var out []string
	for _, d := range f.Datastores() {
		out = append(out, d.Name)
	}
	return out
}

// List lists a folder by name, folders first; of a file, that file.
func (f *Files) List(ctx context.Context, p Path) ([]File, error) {
	if _, err := f.on(p, false); err != nil {
		return nil, err
	}
	if p.File != "" {
		st, err := f.fs.Stat(ctx, f.host.Name, p)
		if err != nil || !st.Dir {
			return []File{st}, err
		}
	}
	list, err := f.fs.List(ctx, f.host.Name, p)
	slices.SortFunc(list, func(a, b File) int {
		if a.Dir != b.Dir {
			if a.Dir {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Path.File, b.Path.File)
	})
	return list, err
}

// MakeDir makes a folder, with those above it.
func (f *Files) MakeDir(ctx context.Context, p Path) error {
	if _, err := f.on(p, true); err != nil {
		return err
	}
	if p.File == "" {
		return Errorf(ErrInvalid, "%s is no folder to be made", p)
	}
	return f.hv.MakeDir(ctx, f.host.Name, p)
}

// A Sending is a file on its way to a datastore.
type Sending struct {
	To       Path
	Open     func() (io.ReadSeekCloser, error)
	Size     int64
	Sum      string // SHA-256 that it must have, in hex; empty: any
	Replace  bool   // in the place of a file that is there
	Resume   bool   // go on where an earlier one broke off
	MakeDirs bool   // make the folder that it goes to
	Progress func(done, total int64)
}

// partSuffix is what a file is called while it is being sent.
const partSuffix = ".part"

// tries is how often a transfer that the network broke is begun again.
const tries = 5

// Put sends a file and returns its SHA-256. It is sent under another name and
// renamed when it is whole and its sum is right.
func (f *Files) Put(ctx context.Context, s Sending) (string, error) {
	if err := f.mayPut(ctx, s); err != nil {
		return "", err
	}
	src, err := s.Open()
	if err != nil {
		return "", err
	}
	defer src.Close()
	part := s.To
	part.File += partSuffix
	sum, err := f.send(ctx, s, part, src)
	if err != nil {
		f.drop(ctx, part)
		return "", err
	}
	if err := f.check(ctx, s, part, sum); err != nil {
		return "", err
	}
	return sum, f.fs.Move(ctx, f.host.Name, part, s.To)
}

func (f *Files) mayPut(ctx context.Context, s Sending) error {
	d, err := f.on(s.To, true)
	if err != nil {
		return err
	}
	if s.To.File == "" {
		return Errorf(ErrInvalid, "%s: name the file", s.To)
	}
	st, err := f.fs.Stat(ctx, f.host.Name, s.To)
	switch {
	case err == nil && st.Dir:
		return Errorf(ErrExists, "%s is a folder", s.To)
	case err == nil && !s.Replace:
		return Errorf(ErrExists, "%s is there already; -f puts the new file in its place", s.To)
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	}
	if d.FreeKB >= 0 && d.FreeKB*1024 < s.Size {
		return Errorf(ErrNoSpace, "datastore %s has %s MB free, the file needs %s MB", d.Name, megabytes(d.FreeKB), megabytes((s.Size+1023)/1024))
	}
	return f.folder(ctx, s)
}

// folder finds the folder that a file goes to, or makes it.
func (f *Files) folder(ctx context.Context, s Sending) error {
	dir := s.To.Dir()
	if dir.File == "" {
		return nil
	}
	st, err := f.fs.Stat(ctx, f.host.Name, dir)
	switch {
	case err == nil && !st.Dir:
		return Errorf(ErrInvalid, "%s is no folder", dir)
	case err == nil:
		return nil
	case !errors.Is(err, ErrNotFound) || !s.MakeDirs:
		return fmt.Errorf("folder %s: %w; datastore mkdir makes it", dir, err)
	}
	if err := f.hv.MakeDir(ctx, f.host.Name, dir); err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	return nil
}

// send sends the bytes, as often as the network breaks, and sums them up.
func (f *Files) send(ctx context.Context, s Sending, part Path, src io.ReadSeeker) (string, error) {
	resume := s.Resume
	for try := 1; ; try++ {
		sum, err := f.sendOnce(ctx, s, part, src, resume)
		if err == nil || ctx.Err() != nil || try == tries || !passing(err) {
			return sum, err
		}
		if Pause(ctx, try) != nil {
			return "", err
		}
		resume = true
	}
}

// drop deletes what was sent of a file if nothing could ever go on from it.
func (f *Files) drop(ctx context.Context, part Path) {
	if app, _ := f.appender(ctx); app != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	f.hv.Delete(ctx, f.host.Name, part)
}

// passing says whether an error may be gone at the next attempt: what has a
// class is an answer of the host, and our own disk is not the network.
func passing(err error) bool {
	for _, class := range []error{ErrExists, ErrNotFound, ErrRestricted, ErrPowerState, ErrUnsupported, ErrInvalid, ErrNoSpace, ErrUntrusted} {
		if errors.Is(err, class) {
			return false
		}
	}
	var ne net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.As(err, &ne) || errors.Is(err, ErrUnreachable)
}

func (f *Files) sendOnce(ctx context.Context, s Sending, part Path, src io.ReadSeeker, resume bool) (string, error) {
	at, app := int64(0), Appender(nil)
	if resume {
		at, app = f.sent(ctx, s, part)
	}
	h := sha256.New()
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.CopyN(h, src, at); err != nil {
		return "", err
	}
	r := &counter{r: io.TeeReader(src, h), done: at, total: s.Size, report: s.Progress}
	var err error
	if app != nil {
		err = app.Append(ctx, f.host.Name, part, r)
	} else {
		err = f.fs.Put(ctx, f.host.Name, part, &rewinder{r, src, h.Reset}, s.Size)
	}
	if err != nil {
		return "", err
	}
	if r.done != s.Size {
		return "", Errorf(ErrInvalid, "%s: %d bytes were sent of %d; the file changed meanwhile", s.To, r.done, s.Size)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sent is how much of a file is there from before, if the connection can go
// on from there.
func (f *Files) sent(ctx context.Context, s Sending, part Path) (int64, Appender) {
	app, ok := f.appender(ctx)
	if !ok {
		return 0, nil
	}
	st, err := f.fs.Stat(ctx, f.host.Name, part)
	if err != nil || st.Size > s.Size {
		return 0, nil
	}
	return st.Size, app
}

// appender is what can go on with files: a shell can.
func (f *Files) appender(ctx context.Context) (Appender, bool) {
	hv := f.hv
	if h, is := hv.(*hybrid); is {
		var err error
		if hv, err = h.changes(ctx); err != nil {
			return nil, false
		}
	}
	app, ok := hv.(Appender)
	return app, ok
}

// A rewinder lets a file that was sent in part be sent again from its
// beginning.
type rewinder struct {
	*counter
	src   io.Seeker
	reset func()
}

// Seek goes back to the beginning, and nowhere else.
func (r *rewinder) Seek(off int64, whence int) (int64, error) {
	if off != 0 || whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	r.reset()
	r.done = 0
	return r.src.Seek(0, io.SeekStart)
}

// check compares what the host has with what was sent: its size, and its sum
// where the host can compute it.
func (f *Files) check(ctx context.Context, s Sending, part Path, sum string) error {
	bad := func(format string, args ...any) error {
		f.hv.Delete(context.WithoutCancel(ctx), f.host.Name, part)
		return Errorf(ErrInvalid, "%s: "+format, append([]any{s.To}, args...)...)
	}
	if s.Sum != "" && !strings.EqualFold(s.Sum, sum) {
		return bad("sha256 is %s, and not %s as it should be", sum, s.Sum)
	}
	st, err := f.fs.Stat(ctx, f.host.Name, part)
	if err != nil {
		return err
	}
	if st.Size != s.Size {
		return bad("%d bytes arrived of %d", st.Size, s.Size)
	}
	summer, ok := as[Summer](f.hv)
	if !ok {
		return nil
	}
	there, err := summer.SHA256(ctx, f.host.Name, part)
	if errors.Is(err, ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if there != sum {
		return bad("sha256 there is %s, here it is %s; put it again without --resume", there, sum)
	}
	return nil
}

// A Receiving is a file on its way from a datastore.
type Receiving struct {
	From     Path
	To       Partial
	Sum      string // SHA-256 that it must have; empty: any
	Progress func(done, total int64)
}

// A Partial is where a file is received: what is there already is gone on
// with.
type Partial interface {
	io.Reader // what is there already
	io.Writer // at its end
	Size() int64
}

// Get receives a file, going on where the network breaks, and returns its
// size and its SHA-256.
func (f *Files) Get(ctx context.Context, r Receiving) (int64, string, error) {
	if _, err := f.on(r.From, false); err != nil {
		return 0, "", err
	}
	st, err := f.fs.Stat(ctx, f.host.Name, r.From)
	if err != nil {
		return 0, "", err
	}
	if st.Dir {
		return 0, "", Errorf(ErrInvalid, "%s is a folder; name a file in it", r.From)
	}
	h := sha256.New()
	done, err := io.Copy(h, io.LimitReader(r.To, r.To.Size()))
	if err != nil {
		return 0, "", err
	}
	if done > st.Size {
		return 0, "", Errorf(ErrInvalid, "%s has %d bytes, of which %d were received before: it is another file by now; get it without --resume", r.From, st.Size, done)
	}
	for try := 1; done < st.Size; try++ {
		n, err := f.receive(ctx, r, h, done, st.Size)
		if n > 0 {
			try = 1
		}
		done += n
		if err != nil && (try == tries || !passing(err) || Pause(ctx, try) != nil) {
			return done, "", err
		}
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if r.Sum != "" && !strings.EqualFold(r.Sum, sum) {
		return done, "", Errorf(ErrInvalid, "%s: sha256 is %s, and not %s as it should be", r.From, sum, r.Sum)
	}
	return done, sum, nil
}

func (f *Files) receive(ctx context.Context, r Receiving, h io.Writer, from, size int64) (int64, error) {
	body, _, err := f.fs.Get(ctx, f.host.Name, r.From, from)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	c := &counter{r: io.LimitReader(body, size-from), done: from, total: size, report: r.Progress}
	n, err := io.Copy(io.MultiWriter(r.To, h), c)
	if err == nil && n < size-from {
		err = fmt.Errorf("%s: %w", r.From, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Remove deletes a file or an empty folder; all is for a folder with what is
// in it. What a guest is made of is not deleted.
func (f *Files) Remove(ctx context.Context, p Path, all bool) error {
	if _, err := f.on(p, true); err != nil {
		return err
	}
	if p.File == "" {
		return Errorf(ErrInvalid, "%s is a whole datastore; name a file", p)
	}
	st, err := f.fs.Stat(ctx, f.host.Name, p)
	if err != nil {
		return err
	}
	if st.Dir && !all {
		list, err := f.fs.List(ctx, f.host.Name, p)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			return Errorf(ErrInvalid, "%s is a folder with %d files; -r deletes it with them", p, len(list))
		}
	}
	if err := f.unused(ctx, p); err != nil {
		return err
	}
	return f.hv.Delete(ctx, f.host.Name, p)
}

// unused refuses what guests of the endpoint have in use.
func (f *Files) unused(ctx context.Context, p Path) error {
	vms, err := f.hv.VMs(ctx, Query{Detail: true})
	if err != nil {
		return err
	}
	for _, v := range vms {
		for _, used := range filesOf(v) {
			if used == p || used.Within(p) || dataOf(used) == p {
				return Errorf(ErrExists, "%s is in use: guest %s has %s", p, v.Name, used)
			}
		}
	}
	return nil
}

// filesOf are the files that a guest is made of.
func filesOf(v VM) []Path {
	out := []Path{v.Path}
	if v.Spec == nil {
		return out
	}
	for _, d := range v.Spec.Disks {
		out = append(out, d.Path)
		if d.Parent != nil {
			out = append(out, *d.Parent)
		}
	}
	for _, cd := range v.Spec.CDROMs {
		if !cd.ISO.IsZero() {
			out = append(out, cd.ISO)
		}
	}
	return out
}

var partOfDisk = regexp.MustCompile(`-(flat|rdm|rdmp|delta|sesparse|ctk|s\d{3}|f\d{3})\.vmdk$`)

// IsDisk says whether a file is a virtual disk's descriptor, with which all of
// the disk goes, and not one of its other files.
func IsDisk(p Path) bool {
	return strings.HasSuffix(p.File, ".vmdk") && !partOfDisk.MatchString(p.File)
}

// dataOf is the file of data of a disk.
func dataOf(p Path) Path {
	if base, ok := strings.CutSuffix(p.File, ".vmdk"); ok {
		return Path{p.Datastore, base + "-flat.vmdk"}
	}
	return Path{}
}

// A counter tells how much went through it.
type counter struct {
	r           io.Reader
	done, total int64
	report      func(done, total int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	if c.report != nil {
		c.report(c.done, c.total)
	}
	return n, err
}
