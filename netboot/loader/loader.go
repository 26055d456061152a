// Package loader holds the boot loaders that are built into margay: iPXE for
// BIOS, UEFI on x86-64 and UEFI on arm64.
//
// They are the unmodified binaries of github.com/tinkerbell/ipxedust, built
// from iPXE commit 0cc8177cf798bb4cb0cabd1863056ee0245560d5 with COMBOOT and
// HTTP. iPXE is under the GPL, version 2 or later, with parts under the UBDL:
// docs/dependencies.md names the source. Build with -tags noipxe to leave them
// out, and put others into <state>/boot.
package loader

import (
	"bytes"
	"io/fs"
	"time"
)

// FS is the built-in loaders by the names that margay sends them under.
func FS() fs.FS { return files(embedded()) }

type files map[string][]byte

// Open finds a loader; fs.ErrNotExist if there is none of that name.
func (f files) Open(name string) (fs.File, error) {
	data, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{bytes.NewReader(data), info{name, int64(len(data))}}, nil
}

type file struct {
	*bytes.Reader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

type info struct {
	name string
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o444 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }
