package esxi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// A tree is a medium, or its install tree, whose names are found whatever
// their case: boot.cfg's spelling and the disc's differ.
type tree struct {
	fs.FS
	dirs map[string]map[string]fs.DirEntry // by directory, then by lower-case name
}

func newTree(fsys fs.FS) *tree {
	return &tree{FS: fsys, dirs: map[string]map[string]fs.DirEntry{}}
}

// find returns the tree's own spelling of a name. The error wraps
// fs.ErrNotExist.
func (t *tree) find(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("%q: not a path: %w", name, fs.ErrNotExist)
	}
	dir := "."
	for part := range strings.SplitSeq(name, "/") {
		e := t.entries(dir)[strings.ToLower(part)]
		if e == nil {
			return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		dir = path.Join(dir, e.Name())
	}
	return dir, nil
}

func (t *tree) entries(dir string) map[string]fs.DirEntry {
	if m, ok := t.dirs[dir]; ok {
		return m
	}
	list, err := fs.ReadDir(t.FS, dir)
	m := make(map[string]fs.DirEntry, len(list))
	t.dirs[dir] = m
	if err != nil {
		return m
	}
	for _, e := range list { // sorted, so of names that differ in case only the lower one stands
		m[strings.ToLower(e.Name())] = e
	}
	return m
}

// has says whether a regular file is there.
func (t *tree) has(name string) bool {
	_, err := t.size(name)
	return err == nil
}

// size is a regular file's size.
func (t *tree) size(name string) (int64, error) {
	real, err := t.find(name)
	if err != nil {
		return 0, err
	}
	fi, err := fs.Stat(t.FS, real)
	if err != nil {
		return 0, err
	}
	if !fi.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: not a file: %w", name, fs.ErrNotExist)
	}
	return fi.Size(), nil
}

// maxText is how much of a text file is read; the largest real one, a boot.cfg,
// has some 4 KiB.
const maxText = 1 << 20

var errTooLong = errors.New("too long for what it should be")

// read returns a text file, "" if it is not there.
func (t *tree) read(name string) (string, error) {
	real, err := t.find(name)
	if err != nil {
		return "", nil
	}
	f, err := t.Open(real)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(b) > maxText {
		err = errTooLong
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(b), nil
}
