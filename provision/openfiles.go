package provision

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// An openFiles keeps files of install trees open from one request to the next:
// machines that boot together ask for the same ones, and to open one below the
// root of its tree takes a dozen calls of the kernel. One stat tells whether a
// name still is the file that it was.
type openFiles struct {
	mu       sync.Mutex           // guards the rest, and what its files say
	files    map[string]*openFile // by path
	sweeping bool
}

// How many files are kept open that no one reads, and how long: what is deleted
// has its room on the disk until then.
const (
	maxOpenFiles = 256
	keepOpen     = 10 * time.Second
)

type openFile struct {
	f     *os.File
	st    unix.Stat_t // as it was opened
	local bool        // on a disk of this host's own
	refs  int         // bodies that read it
	used  time.Time   // when one last ended
	kept  bool        // is in files
}

// open returns the file that name is, if it is kept and still the same; nil if
// it is to be opened.
func (o *openFiles) open(name string) *netboot.File {
	o.mu.Lock()
	f := o.files[name]
	if f != nil {
		f.refs++
	}
	o.mu.Unlock()
	if f == nil {
		return nil
	}
	var st unix.Stat_t
	if unix.Stat(name, &st) != nil || !f.is(&st) {
		o.mu.Lock()
		o.drop(name, f)
		o.mu.Unlock()
		o.release(f)
		return nil
	}
	return o.file(f)
}

// keep takes over f, which name was opened as; it is a regular file.
func (o *openFiles) keep(name string, f *os.File) (*netboot.File, error) {
	file := &openFile{f: f, refs: 1}
	if err := unix.Fstat(int(f.Fd()), &file.st); err != nil {
		f.Close()
		return nil, err
	}
	file.local = isLocal(int(f.Fd()))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files == nil {
		o.files = map[string]*openFile{}
	}
	if old := o.files[name]; old != nil {
		o.drop(name, old)
	}
	if len(o.files) < maxOpenFiles || o.makeRoom() {
		o.files[name], file.kept = file, true
		o.sweepLater()
	}
	return o.file(file), nil
}

func (o *openFiles) file(f *openFile) *netboot.File {
	return &netboot.File{
		Body: &openBody{SectionReader: *io.NewSectionReader(f.f, 0, f.st.Size), file: f, of: o},
		Size: f.st.Size, ModTime: time.Unix(f.st.Mtim.Unix()),
	}
}

// isLocal says whether a file is of a file system that keeps it on a disk of this
// host's own, or in memory, as far as we know them.
func isLocal(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch int64(uint32(st.Type)) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC,
		unix.ISOFS_SUPER_MAGIC, unix.UDF_SUPER_MAGIC, unix.SQUASHFS_MAGIC:
		return true
	}
	return false
}

// is says whether st is of the same file, and that as it was.
func (f *openFile) is(st *unix.Stat_t) bool {
	return st.Dev == f.st.Dev && st.Ino == f.st.Ino && st.Size == f.st.Size && st.Mtim == f.st.Mtim && st.Ctim == f.st.Ctim
}

// drop has name opened anew the next time. The caller holds mu.
func (o *openFiles) drop(name string, f *openFile) {
	if !f.kept {
		return
	}
	f.kept = false
	delete(o.files, name)
	if f.refs == 0 {
		f.f.Close()
	}
}

func (o *openFiles) release(f *openFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.used = time.Now()
	if f.refs--; f.refs == 0 && !f.kept {
		f.f.Close()
	}
}

// makeRoom closes what was not read for longest, and says whether there is such
// a file. The caller holds mu.
func (o *openFiles) makeRoom() bool {
	oldest := ""
	for name, f := range o.files {
		if f.refs == 0 && (oldest == "" || f.used.Before(o.files[oldest].used)) {
			oldest = name
		}
	}
	if oldest == "" {
		return false
	}
	o.drop(oldest, o.files[oldest])
	return true
}

// sweepLater closes what is not read for so long. The caller holds mu.
func (o *openFiles) sweepLater() {
	if o.sweeping {
		return
	}
	o.sweeping = true
	time.AfterFunc(keepOpen, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.sweeping = false
		for name, f := range o.files {
			if f.refs == 0 && time.Since(f.used) >= keepOpen {
				o.drop(name, f)
			}
		}
		if len(o.files) > 0 {
			o.sweepLater()
		}
	})
}

// An openBody reads a file that others read too.
type openBody struct {
	io.SectionReader
	file *openFile
	of   *openFiles
	once sync.Once
}

func (b *openBody) Close() error {
	b.once.Do(func() { b.of.release(b.file) })
	return nil
}

// Extent has the body sent by sendfile(2), as netboot.Extents says.
func (b *openBody) Extent(off int64) (f *os.File, at, n int64) {
	if off >= b.Size() {
		return nil, 0, 0
	}
	return b.file.f, off, b.Size() - off
}

// Local says what netboot.Extents asks.
func (b *openBody) Local() bool { return b.file.local }
