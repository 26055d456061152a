package command

import (
	"io"
	"os"
	"path/filepath"
	"slices"

	"margay/vm"
	"margay/vm/vmdk"
)

// A diskImage is a disk's file, as hosts are sent it.
type diskImage struct {
	vmdk.Disk
	name   string
	format string
	under  io.Closer // nil: nothing
}

// Close closes the disk and the file that it is read from.
func (d *diskImage) Close() error {
	err := d.Disk.Close()
	if d.under != nil {
		d.under.Close()
	}
	return err
}

// OpenDisk opens a disk's file, of any format that is read.
func OpenDisk(name string) (vm.DiskImage, error) { return openDisk(name) }

func openDisk(name string) (*diskImage, error) {
	d, format, err := vmdk.OpenAny(os.DirFS(filepath.Dir(name)), filepath.Base(name))
	if err != nil {
		return nil, err
	}
	return &diskImage{d, name, format, nil}, nil
}

// Stream writes it as a stream-optimized image.
func (d *diskImage) Stream(w io.Writer, progress func(done, total int64)) error {
	return vmdk.Stream(d, w, "disk.vmdk", 1, progress)
}

// Format is the format's name.
func (d *diskImage) Format() string { return d.format }

// Files are the files of the disk.
func (d *diskImage) Files() []string {
	out := []string{filepath.Base(d.name)}
	img, ok := d.Disk.(*vmdk.Image)
	if !ok {
		return out
	}
	for _, e := range img.Descriptor.Extents {
		if e.File != "" && !slices.Contains(out, e.File) && !img.Embedded() {
			out = append(out, e.File)
		}
	}
	return out
}

// Convert writes it in another format.
func (d *diskImage) Convert(dir, name, format string, progress func(done, total int64)) ([]string, error) {
	return vmdk.Convert(d, dir, name, format, progress)
}
