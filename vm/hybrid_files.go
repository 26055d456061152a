package vm

import (
	"context"
	"errors"
	"io"
)

// filer is the way that changes of files go: the API, or SSH where the licence
// is in the way.
func (h *hybrid) filer(change func(Filer) error) func(Hypervisor) error {
	return func(hv Hypervisor) error {
		f, ok := hv.(Filer)
		if !ok {
			return ErrUnsupported
		}
		return change(f)
	}
}

// List lists a folder.
func (h *hybrid) List(ctx context.Context, host string, dir Path) (files []File, err error) {
	err = h.filer(func(f Filer) error { files, err = f.List(ctx, host, dir); return err })(h.Hypervisor)
	return files, err
}

// Stat finds a file.
func (h *hybrid) Stat(ctx context.Context, host string, p Path) (file File, err error) {
	err = h.filer(func(f Filer) error { file, err = f.Stat(ctx, host, p); return err })(h.Hypervisor)
	return file, err
}

// Get reads a file.
func (h *hybrid) Get(ctx context.Context, host string, p Path, from int64) (r io.ReadCloser, left int64, err error) {
	err = h.filer(func(f Filer) error { r, left, err = f.Get(ctx, host, p, from); return err })(h.Hypervisor)
	return r, left, err
}

// Put writes a file. Where the licence turns out to forbid it, what was read
// of r is read again, if r can be.
func (h *hybrid) Put(ctx context.Context, host string, p Path, r io.Reader, size int64) error {
	first := true
	return h.do(ctx, h.filer(func(f Filer) error {
		if s, ok := r.(io.Seeker); ok && !first {
			if _, err := s.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
		first = false
		return f.Put(ctx, host, p, r, size)
	}))
}

// Move renames a file.
func (h *hybrid) Move(ctx context.Context, host string, from, to Path) error {
	return h.do(ctx, h.filer(func(f Filer) error { return f.Move(ctx, host, from, to) }))
}

// errNoShell is why a file cannot be gone on with.
var errNoShell = errors.New("over the API a file is written whole")

// changes is the connection that changes go through at the moment.
func (h *hybrid) changes(ctx context.Context) (Hypervisor, error) {
	if !h.About().Restricted {
		return h.Hypervisor, nil
	}
	return h.open(ctx)
}

// Append goes on with a file, over SSH.
func (h *hybrid) Append(ctx context.Context, host string, p Path, r io.Reader) error {
	hv, err := h.changes(ctx)
	if err != nil {
		return err
	}
	a, ok := hv.(Appender)
	if !ok {
		return Errorf(ErrUnsupported, "%v", errNoShell)
	}
	return a.Append(ctx, host, p, r)
}

// SHA256 has the host compute a file's sum, over SSH.
func (h *hybrid) SHA256(ctx context.Context, host string, p Path) (string, error) {
	hv, err := h.changes(ctx)
	if err != nil {
		return "", err
	}
	s, ok := hv.(Summer)
	if !ok {
		return "", ErrUnsupported
	}
	return s.SHA256(ctx, host, p)
}
