package linux

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"margay/nodedb"
)

// copyPrograms puts busybox and what else is wanted into the initial RAM disk,
// with the libraries that they need.
func (m *maker) copyPrograms(ctx context.Context, dir string) error {
	c := &programCopier{root: m.root, to: dir, done: map[string]bool{}}
	box, ok := c.find("busybox")
	if !ok {
		return fmt.Errorf("no busybox in %s; install busybox-static in it: %w", m.root, nodedb.ErrNotFound)
	}
	if err := c.program(box, "bin/busybox"); err != nil {
		return err
	}
	m.programs = strings.Fields(m.applets(ctx, box))
	for _, name := range m.initrd.with {
		file, ok := c.find(name)
		if !ok {
			return fmt.Errorf("%s: no such program in %s: %w", name, m.root, nodedb.ErrNotFound)
		}
		if err := c.program(file, "bin/"+path.Base(name)); err != nil {
			return err
		}
		m.programs = append(m.programs, path.Base(name))
	}
	return nil
}

// applets are busybox's own list of what it can do; empty where it does not
// run here.
func (m *maker) applets(ctx context.Context, box string) string {
	cmd := exec.CommandContext(ctx, "chroot", m.root, "/"+box, "--list")
	if filepath.Clean(m.root) == "/" {
		cmd = exec.CommandContext(ctx, "/"+box, "--list")
	}
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// A programCopier copies programs of a root, and keeps where libraries lie.
type programCopier struct {
	root string
	to   string
	done map[string]bool
}

var programDirs = []string{"usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin", "usr/local/bin"}

// find is a program's file in the root.
func (c *programCopier) find(name string) (string, bool) {
	if strings.Contains(name, "/") {
		name = strings.TrimPrefix(path.Clean("/"+name), "/")
		return name, c.isFile(name)
	}
	for _, dir := range programDirs {
		if p := path.Join(dir, name); c.isFile(p) {
			return p, true
		}
	}
	return "", false
}

func (c *programCopier) isFile(name string) bool {
	fi, err := os.Lstat(c.resolve(name))
	return err == nil && fi.Mode().IsRegular()
}

// resolve follows a name's links as a process in the root would: an absolute
// link leads to the root's own file, and none leads out.
func (c *programCopier) resolve(name string) string {
	at := "/"
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0 && links < 40; {
		next := path.Join(at, todo[0]) // above the root there is nothing
		todo = todo[1:]
		to, err := os.Readlink(filepath.Join(c.root, next))
		if err != nil {
			at = next
			continue
		}
		links++
		if path.IsAbs(to) {
			at = "/"
		}
		todo = append(strings.Split(to, "/"), todo...)
	}
	return filepath.Join(c.root, at)
}

// program copies a program, and all libraries that it is linked to.
func (c *programCopier) program(file, as string) error {
	data, err := c.copy(file, as)
	if err != nil {
		return err
	}
	return c.libraries(file, data)
}

func (c *programCopier) copy(file, as string) ([]byte, error) {
	data, err := os.ReadFile(c.resolve(file))
	if err != nil {
		return nil, err
	}
	c.done[as] = true
	to := filepath.Join(c.to, as)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return nil, err
	}
	return data, os.WriteFile(to, data, 0o755)
}

// libraries copies what a program's file names as needed. A script needs none.
func (c *programCopier) libraries(file string, data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	if interp := interpreter(f); interp != "" && !c.done[interp] {
		if _, err := c.copy(interp, interp); err != nil {
			return fmt.Errorf("%s wants %s: %w", file, interp, err)
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, lib := range needed {
		if err := c.library(file, lib); err != nil {
			return err
		}
	}
	return nil
}

// interpreter is the program's loader of libraries, as a path in the root.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err == nil {
				return strings.TrimPrefix(strings.TrimRight(string(b), "\x00"), "/")
			}
		}
	}
	return ""
}

// library finds one where loaders look without being told, and keeps its place.
func (c *programCopier) library(file, lib string) error {
	if strings.Contains(lib, "/") {
		return fmt.Errorf("%s wants library %q: %w", file, lib, nodedb.ErrInvalid)
	}
	for _, pattern := range []string{"lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "lib64", "usr/lib64", "lib", "usr/lib"} {
		dirs, _ := filepath.Glob(filepath.Join(c.root, pattern))
		for _, dir := range dirs {
			dir, err := filepath.Rel(c.root, dir)
			if err != nil {
				return err
			}
			name := path.Join(dir, lib)
			if !c.isFile(name) {
				continue
			}
			if c.done[name] {
				return nil
			}
			return c.program(name, name)
		}
	}
	return fmt.Errorf("%s wants %s, which is not in the root: %w", file, lib, nodedb.ErrNotFound)
}
