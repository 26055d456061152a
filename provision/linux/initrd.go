package linux

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"margay/nodedb"
)

// InitrdData is what templates/linux/diskless-init.sh is filled in with.
type InitrdData struct {
	Image  string // the osimage's name
	Kernel string // the kernel's version
}

// An initrdPlan is what one initial RAM disk has of its own.
type initrdPlan struct {
	name    string   // of the file
	init    string   // the template of its first program
	drivers []string // directories of drivers
	with    []string // programs beside busybox
}

// writeInitrd makes the initial RAM disk: busybox, the network's and the
// root's drivers, and the script that runs first.
func (m *maker) writeInitrd(ctx context.Context) (err error) {
	stage := filepath.Join(m.root, ".margay-initrd")
	if m.Root != "" {
		stage = filepath.Join(m.Dir, ".margay-initrd")
	}
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	if err := m.stage(ctx, stage); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(m.Dir, m.initrd.name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	gz := gzip.NewWriter(f)
	if err := writeCPIO(gz, stage); err != nil {
		return err
	}
	if err := gz.Close(); err != nil {
		return err
	}
	return os.Chmod(f.Name(), 0o644)
}

func (m *maker) stage(ctx context.Context, dir string) error {
	for _, d := range []string{"bin", "dev", "proc", "sys", "mem", "root", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := m.copyPrograms(ctx, dir); err != nil {
		return err
	}
	for name, file := range map[string]string{"init": m.initrd.init, "bin/lease": "linux/diskless-lease.sh"} {
		t, err := m.family.templates.Find(file)
		if err != nil {
			return err
		}
		text, err := t.Render(&InitrdData{Image: m.Image.Name, Kernel: m.kernel})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			return err
		}
	}
	return m.drivers(ctx, dir)
}

// driverDirs are where the drivers lie that a root over the network may need.
var driverDirs = []string{
	"kernel/drivers/net", "kernel/drivers/virtio", "kernel/drivers/ptp", "kernel/drivers/pps", "kernel/drivers/i2c/algos",
	"kernel/drivers/dca", "kernel/drivers/hv", "kernel/drivers/xen", "kernel/drivers/block/loop.ko", "kernel/drivers/block/virtio_blk.ko", "kernel/drivers/firmware",
	"kernel/net/core", "kernel/net/802", "kernel/net/packet", "kernel/net/ipv6", "kernel/net/ipv4", "kernel/lib", "kernel/crypto",
	"kernel/fs/squashfs", "kernel/fs/overlayfs",
}

// leftOut are drivers of what no server boots over, and are large.
var leftOut = []string{"/wireless/", "/wan/", "/can/", "/wwan/", "/arcnet/", "/hamradio/", "/slip/", "/usb/", "/ieee802154/", "/wireguard/", "/team/"}

// drivers copies the drivers and indexes them.
func (m *maker) drivers(ctx context.Context, dir string) error {
	from := filepath.Join(m.root, "lib/modules", m.kernel)
	to := filepath.Join(dir, "lib/modules", m.kernel)
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("kernel %s: no modules in the root: %w", m.kernel, nodedb.ErrNotFound)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, sub := range m.initrd.drivers {
		if err := m.copyDrivers(ctx, from, to, sub); err != nil {
			return err
		}
	}
	for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		if b, err := os.ReadFile(filepath.Join(from, name)); err == nil {
			if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
				return err
			}
		}
	}
	if m.Root != "" {
		return m.run(ctx, "depmod", "-b", dir, m.kernel)
	}
	return m.run(ctx, "chroot", m.root, "depmod", "-b", "/"+filepath.Base(dir), m.kernel)
}

func (m *maker) copyDrivers(ctx context.Context, from, to, sub string) error {
	return filepath.WalkDir(filepath.Join(from, sub), func(file string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			for _, packed := range []string{".xz", ".zst", ".gz"} {
				if _, err := os.Stat(file + packed); err == nil && strings.HasSuffix(sub, ".ko") {
					return m.copyDriver(ctx, from, to, file+packed)
				}
			}
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		for _, part := range leftOut {
			if strings.Contains(file, part) {
				return nil
			}
		}
		return m.copyDriver(ctx, from, to, file)
	})
}

// unpackers are for modules that are packed: busybox does not unpack them.
var unpackers = map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}

// unpackedExt is what unpacking takes from a file's name.
func unpackedExt(ext string) string {
	if unpackers[ext] != "" {
		return ext
	}
	return ""
}

func (m *maker) copyDriver(ctx context.Context, from, to, file string) error {
	rel, err := filepath.Rel(from, file)
	if err != nil {
		return err
	}
	ext := filepath.Ext(file)
	target := filepath.Join(to, rel)
	if _, err := os.Lstat(strings.TrimSuffix(target, unpackedExt(ext))); err == nil {
		return nil // directories of drivers may overlap
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := copyFile(target, file); err != nil {
		return err
	}
	if tool := unpackers[ext]; tool != "" {
		if err := m.run(ctx, tool, "-d", "-q", "-f", target); err != nil {
			return err
		}
		os.Remove(target) // zstd keeps it
	}
	return nil
}

// writeCPIO writes a directory as the kernel takes it, in cpio's newc format
// (Linux, driver-api/early-userspace/buffer-format), with a console device,
// which init is given before /dev is there. All is root's.
func writeCPIO(w io.Writer, dir string) error {
	c := &cpioWriter{w: w}
	err := filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case fi.IsDir():
			c.entry(rel, 0o040000|uint32(fi.Mode().Perm()), nil, 0)
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			c.entry(rel, 0o100000|uint32(fi.Mode().Perm()), data, 0)
		}
		return c.err
	})
	if err != nil {
		return err
	}
	c.entry("dev/console", 0o020600, nil, 5<<8|1)
	c.entry("TRAILER!!!", 0, nil, 0)
	return c.err
}

type cpioWriter struct {
	w   io.Writer
	ino int
	err error
}

func (c *cpioWriter) entry(name string, mode uint32, data []byte, rdev int) {
	if c.err != nil {
		return
	}
	c.ino++
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev>>8, rdev&0xff, len(name)+1, 0, name)
	c.write([]byte(head))
	c.pad(len(head))
	c.write(data)
	c.pad(len(data))
}

func (c *cpioWriter) pad(n int) { c.write(make([]byte, (4-n%4)%4)) }

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}
