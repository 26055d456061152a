package vm

import (
	"context"
	"io"
)

// An Import is a guest to be taken in from an OVF package.
type Import struct {
	Name       string
	Descriptor string
	Option     string // size in which to install it; empty: the default one
	Datastore  string
	Format     Format
	Networks   map[string]string // the host's, by the package's
	Properties []Setting
	// Open opens a file of the package.
	Open func(file string) (io.ReadCloser, int64, error)
	// Check says whether what was read of a file is what the package's
	// manifest promises.
	Check func(file string) error
}

// An Importer takes in guests from OVF packages.
type Importer interface {
	Import(ctx context.Context, at Where, p *Import, progress Progress) (VM, error)
}

// A DiskImporter makes disks of stream-optimized images that are written to
// it.
type DiskImporter interface {
	// ImportDisk makes a disk of size bytes; write writes its image.
	ImportDisk(ctx context.Context, at Where, to Path, f Format, size int64, write func(io.Writer) error) error
}

// An Exporter gives out guests' disks as stream-optimized images.
type Exporter interface {
	// Export calls disk with each disk of a guest that is off, in the order of
	// v.Spec.Disks. The guest cannot be turned on meanwhile.
	Export(ctx context.Context, v VM, disk func(i int, r io.Reader) error) error
}

// A SparseLoader makes a host able to copy from split sparse disks, which
// hosts cannot do when they have just booted.
type SparseLoader interface {
	LoadSparse(ctx context.Context) error
}
