package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Unpack writes everything on the medium into the directory dir, which must
// exist: directories with mode 0755, files 0644, links that stay inside. It
// never replaces a file and never writes outside dir. When it returns nil all
// of it is on disk. progress, which may be nil, is called as bytes are written.
func (im *Image) Unpack(ctx context.Context, dir string, progress func(done, total int64)) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	src, err := im.source()
	if err != nil {
		return err
	}
	defer src.Close()
	u := &unpacker{ctx: ctx, root: root, src: src, progress: progress}
	if err := u.plan(im); err != nil {
		return err
	}
	for _, f := range u.files {
		if err := u.file(f); err != nil {
			return err
		}
	}
	return u.sync()
}

// Total is how many bytes the medium's files have together.
func (im *Image) Total() int64 {
	var total int64
	im.root.walk("", func(_ string, n *node) error {
		if n.mode.IsRegular() {
			total += n.size
		}
		return nil
	})
	return total
}

type unpacker struct {
	ctx         context.Context
	root        *os.Root
	src         source
	progress    func(done, total int64)
	files       []pathNode // in the image's order
	dirs        []string   // parents first
	done, total int64
}

type pathNode struct {
	path string
	*node
}

// plan makes directories and links, and sorts the files by where they lie.
func (u *unpacker) plan(im *Image) error {
	var links []pathNode
	err := im.root.walk("", func(p string, n *node) error {
		switch {
		case n.mode.IsDir():
			u.dirs = append(u.dirs, p)
			return u.mkdir(p)
		case n.mode&fs.ModeSymlink != 0:
			links = append(links, pathNode{p, n})
		case n.mode.IsRegular():
			u.files = append(u.files, pathNode{p, n})
			u.total += n.size
		} // devices and pipes stay behind
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(u.files, func(a, b pathNode) int {
		return int(min(1, max(-1, a.first()-b.first())))
	})
	for _, l := range links {
		if err := u.symlink(l.path, l.link); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) first() int64 {
	if len(n.extents) == 0 {
		return -1
	}
	return n.extents[0].Off
}

func (u *unpacker) mkdir(p string) error {
	if err := u.root.Mkdir(p, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return u.root.Chmod(p, 0o755) // whatever the umask
}

// symlink makes a link, unless it leads out of the medium: nobody who serves
// or copies the tree should have to think of that.
func (u *unpacker) symlink(p, target string) error {
	if path.IsAbs(target) || !fs.ValidPath(path.Join(path.Dir(p), target)) || strings.ContainsRune(target, 0) {
		return fmt.Errorf("%s: link leads out of the medium, to %q: %w", p, target, ErrFormat)
	}
	return u.root.Symlink(target, p)
}

// file copies one file.
func (u *unpacker) file(f pathNode) (err error) {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	dst, err := u.root.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := dst.Close(); err == nil {
			err = cerr
		}
	}()
	if err := dst.Chmod(0o644); err != nil {
		return err
	}
	for _, e := range f.extents {
		if err := u.extent(dst, e); err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
	}
	return nil
}

// chunk is how much is copied between looks at the context.
const chunk = 8 << 20

func (u *unpacker) extent(dst *os.File, e Extent) error {
	if e.Off < 0 {
		return u.hole(dst, e.Len)
	}
	if _, err := u.src.Seek(e.Off, io.SeekStart); err != nil {
		return err
	}
	for left := e.Len; left > 0; {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		// *os.File copies from a limited *os.File by copy_file_range.
		n, err := dst.ReadFrom(&io.LimitedReader{R: u.src.reader(), N: min(left, chunk)})
		u.advance(n)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		left -= n
	}
	return nil
}

// hole leaves n bytes that read as zeros.
func (u *unpacker) hole(dst *os.File, n int64) error {
	end, err := dst.Seek(n, io.SeekCurrent)
	if err != nil {
		return err
	}
	u.advance(n)
	return dst.Truncate(end)
}

func (u *unpacker) advance(n int64) {
	u.done += n
	if u.progress != nil {
		u.progress(u.done, u.total)
	}
}

// sync puts all files on disk, then the directories that name them.
func (u *unpacker) sync() error {
	for _, f := range u.files {
		if err := u.syncOne(f.path); err != nil {
			return err
		}
	}
	for _, d := range slices.Backward(u.dirs) {
		if err := u.syncOne(d); err != nil {
			return err
		}
	}
	return u.syncOne(".")
}

func (u *unpacker) syncOne(p string) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	f, err := u.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// A source is the image's bytes with a position of its own.
type source struct {
	file    *os.File // nil if the image has no file
	section *io.SectionReader
}

// source opens the image anew, so that copying moves nobody else's position.
func (im *Image) source() (source, error) {
	if im.path == "" {
		return source{section: io.NewSectionReader(im.r, 0, im.size)}, nil
	}
	f, err := os.Open(im.path)
	return source{file: f}, err
}

func (s source) reader() io.Reader {
	if s.file != nil {
		return s.file
	}
	return s.section
}

// Seek implements io.Seeker.
func (s source) Seek(off int64, whence int) (int64, error) {
	if s.file != nil {
		return s.file.Seek(off, whence)
	}
	return s.section.Seek(off, whence)
}

// Close closes what source opened.
func (s source) Close() error {
	if s.file != nil {
		return s.file.Close()
	}
	return nil
}
