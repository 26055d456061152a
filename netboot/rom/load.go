package rom

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"time"
)

// loadAll asks for sizes, then loads crypto64.efi, kernel and modules in order.
func (l *mboot) loadAll(cfg *BootCfg, dir string) error {
	files := append([]string{cfg.Kernel}, cfg.Modules...)
	sizes := make([]int64, len(files))
	began := time.Now()
	for n, item := range files {
		p, _ := l.path(cfg, dir, item)
		size, err := l.src.size(p)
		if err != nil {
			return fail(l.step(n, cfg), fmt.Errorf("size: %w", err))
		}
		sizes[n] = size
	}
	if sizes[0] >= 0 {
		l.tell("sizes", began, 0, "of %d files", len(files))
	}
	if err := l.crypto(cfg, dir); err != nil {
		return fail("crypto64.efi", err)
	}
	for n, item := range files {
		if err := l.loadOne(cfg, dir, n, item, sizes[n]); err != nil {
			return fail(l.step(n, cfg), err)
		}
	}
	return nil
}

// step names a file in order: the kernel, then modules.
func (l *mboot) step(n int, cfg *BootCfg) string {
	if n == 0 {
		return "kernel"
	}
	return fmt.Sprintf("module %d/%d", n, len(cfg.Modules))
}

func (l *mboot) loadOne(cfg *BootCfg, dir string, n int, item string, size int64) error {
	p, err := l.path(cfg, dir, item)
	if err != nil {
		return err
	}
	began := time.Now()
	c := &check{whole: l.Verify, keep: l.lastOfStateless(n, cfg)}
	got, err := l.src.copy(p, c)
	if cerr := c.close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		return err
	case size >= 0 && got != size:
		return fmt.Errorf("%s: %d bytes, but %d were told", Redact(l.where(p)), got, size)
	case got == 0:
		return fmt.Errorf("%s: empty, which some loaders take for missing", Redact(l.where(p)))
	}
	if n == 0 {
		l.result.Kernel = p
	} else {
		l.result.Modules = append(l.result.Modules, Module{p, got})
	}
	if c.keep {
		l.result.Reports = overlayReports(c.kept)
	}
	name := "module"
	if n == 0 {
		name = "kernel"
	}
	l.tell(name, began, got, "%d/%d %s", n, len(cfg.Modules), Redact(p))
	return nil
}

// crypto looks for crypto64.efi as mboot does since 7.0 U2 under UEFI. None is
// a warning there, and here.
func (l *mboot) crypto(cfg *BootCfg, dir string) error {
	if !l.Firmware.efi() {
		return nil
	}
	began := time.Now()
	names := []string{"crypto64.efi"}
	if d := l.src.dir(); d != "" {
		names[0] = d + "/crypto64.efi"
	}
	for _, name := range []string{cfg.Crypto, "crypto64.efi", "efi/boot/crypto64.efi"} {
		if name != "" {
			names = append(names, makePath(cfg.Prefix, dir, name))
		}
	}
	for _, name := range names {
		n, err := l.src.copy(name, io.Discard)
		if err == nil {
			l.tell("crypto64.efi", began, n, "%s", Redact(l.where(name)))
			return nil
		}
		if !notFound(err) {
			return err
		}
	}
	l.tell("crypto64.efi", began, 0, "not found; the loader falls back to its own")
	return nil
}

// lastOfStateless says whether a file is an overlay, whose scripts may report.
func (l *mboot) lastOfStateless(n int, cfg *BootCfg) bool {
	return n > 0 && n == len(cfg.Modules) && !hasWord(l.result.CommandLine, "runweasel")
}

// A check is what becomes of a module: nothing, or its gzip is unpacked to the
// end, or it is kept.
type check struct {
	whole bool // unpack
	keep  bool
	kept  []byte
	head  []byte
	pipe  *io.PipeWriter
	done  chan error
}

// Write looks at the first bytes: what is gzip is unpacked.
func (c *check) Write(p []byte) (int, error) {
	if c.keep && len(c.kept)+len(p) <= int(overlay) {
		c.kept = append(c.kept, p...)
	}
	if !c.whole {
		return len(p), nil
	}
	if c.done == nil {
		if c.head = append(c.head, p...); len(c.head) < 2 {
			return len(p), nil
		}
		c.begin()
		return len(p), c.feed(c.head)
	}
	return len(p), c.feed(p)
}

func (c *check) begin() {
	c.done = make(chan error, 1)
	if !bytes.HasPrefix(c.head, []byte{0x1f, 0x8b}) {
		c.done <- nil // plain, which newer loaders take with a warning
		return
	}
	r, w := io.Pipe()
	c.pipe = w
	go func() {
		c.done <- func() error {
			z, err := gzip.NewReader(r)
			if err == nil {
				_, err = io.Copy(io.Discard, z)
			}
			r.CloseWithError(err)
			return err
		}()
	}()
}

func (c *check) feed(p []byte) error {
	if c.pipe == nil {
		return nil
	}
	if _, err := c.pipe.Write(p); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("gzip: %w", err)
	}
	return nil
}

func (c *check) close() error {
	if c.done == nil {
		return nil
	}
	if c.pipe != nil {
		c.pipe.Close()
	}
	if err := <-c.done; err != nil {
		return fmt.Errorf("gzip: %w", err)
	}
	return nil
}
