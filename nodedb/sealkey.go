package nodedb

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadKey reads the sealing key from a file, and makes both if there is no
// file. The file appears whole or not at all, readable by its owner only; a
// file that others may read is refused.
func LoadKey(path string) ([32]byte, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return key, fmt.Errorf("sealing key %s: %w", path, err)
	}
	return readKey(path) // ours, or that of who was quicker
}

func readKey(path string) (key [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return key, fmt.Errorf("sealing key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return key, fmt.Errorf("sealing key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return key, fmt.Errorf("sealing key %s: others may read it (mode %o); chmod 600 it", path, info.Mode().Perm())
	}
	var b [33]byte
	if n, _ := f.Read(b[:]); n != len(key) || info.Size() != int64(len(key)) {
		return key, fmt.Errorf("sealing key %s: it has %d bytes, a key has %d; put back the right file", path, info.Size(), len(key))
	}
	copy(key[:], b[:])
	return key, nil
}

// makeKey writes a new key beside the path and links it there, which fails if
// the path has come to be meanwhile.
func makeKey(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var key [32]byte
	rand.Read(key[:]) // never fails
	if _, err := f.Write(key[:]); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
