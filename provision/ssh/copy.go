package ssh

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Copy says how files are copied.
type Copy struct {
	Recursive bool // directories too
	Preserve  bool // times and modes of the files
}

// flags are scp's, for the far end.
func (o Copy) flags() string {
	f := ""
	if o.Recursive {
		f += " -r"
	}
	if o.Preserve {
		f += " -p"
	}
	return f
}

// Send copies files to a machine, where dest is a file, or a directory that is
// there. It speaks the protocol of scp and rcp: ESXi has scp in all releases
// and an SFTP server only in the newest. The end of ctx in the middle closes the
// connection.
func (c *Client) Send(ctx context.Context, o Copy, files []string, dest string) error {
	line := "scp" + o.flags()
	if len(files) > 1 {
		line += " -d"
	}
	return c.scp(ctx, line+" -t "+Quote(operand(dest)), func(w *wire) error {
		if err := w.answer(); err != nil {
			return err
		}
		for _, name := range files {
			if err := w.send(o, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// Fetch copies a file of a machine, or a directory with all that is in it, to
// dest, which is made anew. What came before an error is taken away again.
func (c *Client) Fetch(ctx context.Context, o Copy, file, dest string) error {
	dir, name := filepath.Split(filepath.Clean(dest))
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	part := "." + name + ".part"
	if err := root.RemoveAll(part); err != nil {
		return err
	}
	defer root.RemoveAll(part)
	err = c.scp(ctx, "scp"+o.flags()+" -f "+Quote(operand(file)), func(w *wire) error {
		return w.fetch(o, root, part)
	})
	if err != nil {
		return err
	}
	if fi, err := root.Lstat(name); err == nil && fi.IsDir() {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return root.Rename(part, name)
}

// operand keeps a name from being taken for an option.
func operand(name string) string {
	if strings.HasPrefix(name, "-") {
		return "./" + name
	}
	return name
}

// scp runs the far end of a copy and talks to it. What it says on its standard
// error explains a copy that fails without a word of the protocol.
func (c *Client) scp(ctx context.Context, line string, talk func(*wire) error) error {
	s, err := c.session(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	in, err := s.StdinPipe()
	if err != nil {
		return err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return err
	}
	said := &head{}
	s.Stderr = said
	if err := s.Start(line); err != nil {
		return fmt.Errorf("%w: %v", ErrUnreachable, err)
	}
	err = talk(newWire(in, out))
	in.Close()
	if err != nil && ctx.Err() == nil && !isEnd(err) {
		return err // what the far end said; it may go on sending for long
	}
	code, werr := status(ctx, s.Wait())
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case code == 127:
		return fmt.Errorf("the machine has no scp")
	case said.String() != "" && (err != nil || code != 0):
		return fmt.Errorf("%s", said)
	case err != nil:
		return fmt.Errorf("%w: the copy was cut off", ErrUnreachable)
	case werr != nil:
		return werr
	case code != 0:
		return fmt.Errorf("scp exited with status %d", code)
	}
	return nil
}

// A head keeps the beginning of what is written to it.
type head struct{ b strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	if room := 512 - h.b.Len(); room > 0 {
		h.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (h *head) String() string { return strings.TrimSpace(h.b.String()) }

// send sends one file or directory.
func (w *wire) send(o Copy, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	base := filepath.Base(filepath.Clean(name))
	if strings.Contains(base, "\n") {
		return fmt.Errorf("%q: a name with a line break cannot be copied", name)
	}
	if o.Preserve {
		if err := w.tell("T%d 0 %d 0\n", fi.ModTime().Unix(), fi.ModTime().Unix()); err != nil {
			return err
		}
	}
	switch {
	case fi.Mode().IsRegular():
		return w.sendFile(f, fi, base)
	case fi.IsDir() && o.Recursive:
		return w.sendDir(o, f, fi, name, base)
	case fi.IsDir():
		return fmt.Errorf("%s is a directory; copy it with -R", name)
	}
	return fmt.Errorf("%s is no regular file", name)
}

func (w *wire) sendFile(f *os.File, fi fs.FileInfo, base string) error {
	if err := w.tell("C%04o %d %s\n", fi.Mode().Perm(), fi.Size(), base); err != nil {
		return err
	}
	n, err := io.CopyN(w.w, f, fi.Size())
	if err == io.EOF {
		return fmt.Errorf("%s shrank from %d to %d bytes while it was copied", f.Name(), fi.Size(), n)
	}
	if err != nil {
		return w.cause(err)
	}
	return w.tell("\x00")
}

func (w *wire) sendDir(o Copy, f *os.File, fi fs.FileInfo, name, base string) error {
	if err := w.tell("D%04o 0 %s\n", fi.Mode().Perm(), base); err != nil {
		return err
	}
	list, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := w.send(o, filepath.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return w.tell("E\n")
}

// maxDepth bounds how deep a machine may have us make directories.
const maxDepth = 64

// fetch takes one file or directory that the far end sends and puts it at
// name. The far end's word counts for names inside a directory, checked, and
// for nothing above it.
func (w *wire) fetch(o Copy, root *os.Root, name string) error {
	if err := w.ok(); err != nil {
		return err
	}
	r, when, err := w.item()
	if err != nil {
		return err
	}
	return w.take(o, root, name, r, when, 0)
}

// item reads a record and the times that may stand before it.
func (w *wire) item() (record, time.Time, error) {
	r, err := w.record()
	if err != nil || r.kind != 'T' {
		return r, time.Time{}, err
	}
	when := r.time
	if err := w.ok(); err != nil {
		return r, when, err
	}
	r, err = w.record()
	return r, when, err
}

// take puts one file or directory at name.
func (w *wire) take(o Copy, root *os.Root, name string, r record, when time.Time, depth int) error {
	switch {
	case depth > maxDepth:
		return fmt.Errorf("directories are more than %d deep", maxDepth)
	case r.kind == 'C':
		return w.takeFile(o, root, name, r, when)
	case r.kind == 'D' && o.Recursive:
		return w.takeDir(o, root, name, r, when, depth)
	case r.kind == 'D':
		return fmt.Errorf("%s is a directory; copy it with -R", r.name)
	}
	return fmt.Errorf("the machine's scp sends %q where a file is due", r.kind)
}

func (w *wire) takeFile(o Copy, root *os.Root, name string, r record, when time.Time) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.ok(); err != nil {
		return err
	}
	if _, err := io.CopyN(f, w.r, r.size); err != nil {
		return w.cause(err)
	}
	if err := w.answer(); err != nil {
		return err
	}
	if err := f.Chmod(r.mode & 0o777); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := setTime(o, root, name, when); err != nil {
		return err
	}
	return w.ok()
}

func (w *wire) takeDir(o Copy, root *os.Root, name string, r record, when time.Time, depth int) error {
	if err := root.Mkdir(name, 0o700); err != nil {
		return err
	}
	if err := w.ok(); err != nil {
		return err
	}
	for {
		in, inWhen, err := w.item()
		if err != nil {
			return err
		}
		if in.kind == 'E' {
			break
		}
		if err := w.take(o, root, filepath.Join(name, in.name), in, inWhen, depth+1); err != nil {
			return err
		}
	}
	if err := root.Chmod(name, r.mode&0o777|0o700); err != nil {
		return err
	}
	if err := setTime(o, root, name, when); err != nil {
		return err
	}
	return w.ok()
}

func setTime(o Copy, root *os.Root, name string, when time.Time) error {
	if !o.Preserve || when.IsZero() {
		return nil
	}
	return root.Chtimes(name, when, when)
}
