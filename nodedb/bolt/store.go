// Package bolt keeps the table in one file, with bbolt.
//
// Records are kept whole, one key each. Commits that come together share one
// fsync. The file belongs to one process: who else opens it is told so.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"margay/nodedb"
)

// A Store is a nodedb.Store in a file.
type Store struct {
	db   *bbolt.DB
	path string

	requests chan *request
	stop     chan struct{} // closed by Close
	done     chan struct{} // closed when the writer has ended
	close    func() error

	log recent
}

var _ nodedb.Store = (*Store)(nil)

var (
	bucketRecords = []byte("records")
	bucketMeta    = []byte("meta")
	keyRev        = []byte("rev")
	keyCount      = []byte("count") // of records
	keyFormat     = []byte("format")
)

const format = 1

// lockWait is how long to wait for another process to let go of the file.
const lockWait = time.Second

// Open opens the file, making it if there is none. A file that another process
// has open, that is damaged, or that is none of ours makes an error that says
// so.
func Open(path string) (*Store, error) {
	s := &Store{path: path, requests: make(chan *request), stop: make(chan struct{}), done: make(chan struct{})}
	s.close = sync.OnceValue(s.end)
	err := s.guard(func() error {
		// The list of free pages stays in the file: where it is missing, bbolt
		// makes it in a goroutine of its own, whose panics nobody can catch.
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
		if err != nil {
			return err
		}
		s.db = db
		if err := s.prepare(); err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	})
	if err != nil {
		if s.db != nil {
			s.db.Close()
		}
		return nil, s.explain(err)
	}
	go s.write()
	return s, nil
}

// explain makes an operator's sentence of what bbolt says.
func (s *Store) explain(err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("table %s: another process has it open: stop that one, or give this one another --state", s.path)
	case errors.As(err, &system), errors.Is(err, errFormat):
		return fmt.Errorf("table %s: %w", s.path, err)
	case errors.Is(err, nodedb.ErrInvalid):
		return err // says it all
	}
	return s.damaged(err)
}

var errFormat = errors.New("a later version wrote it; use that one")

func (s *Store) damaged(err any) error {
	return fmt.Errorf("table %s: the file is damaged (%v); put a backup in its place: %w", s.path, err, nodedb.ErrInvalid)
}

// guard calls fn and makes an error of a panic: bbolt panics on pages that make
// no sense, and reading a mapped file that was cut off is a memory fault.
func (s *Store) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = s.damaged(p)
		}
	}()
	return fn()
}

// prepare makes the buckets of a new file, and looks at what an old one has.
func (s *Store) prepare() error {
	if info, err := os.Stat(s.path); err == nil && info.Size() < s.size() {
		return s.damaged(fmt.Sprintf("it has %d of %d bytes", info.Size(), s.size()))
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketRecords); err != nil {
			return err
		}
		if v := meta.Get(keyFormat); v != nil && !bytes.Equal(v, []byte{format}) {
			return errFormat
		}
		s.log.start(revision(tx))
		return meta.Put(keyFormat, []byte{format})
	})
}

// syncDir makes a new file's name survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// size is how many bytes the file's header says it has.
func (s *Store) size() (n int64) {
	s.db.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil })
	return n
}

func revision(tx *bbolt.Tx) int64 { return number(tx, keyRev) }

// number returns a number among the file's own values.
func number(tx *bbolt.Tx, k []byte) int64 {
	if b := tx.Bucket(bucketMeta).Get(k); len(b) == 8 {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func setNumber(tx *bbolt.Tx, k []byte, n int64) error {
	return tx.Bucket(bucketMeta).Put(k, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// Close ends all watches and closes the file. Commits under way are finished.
func (s *Store) Close() error { return s.close() }

func (s *Store) end() error {
	close(s.stop)
	<-s.done
	s.log.end()
	return s.db.Close()
}

// Load returns every record.
func (s *Store) Load(ctx context.Context) (recs []nodedb.Record, rev int64, err error) {
	err = s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			rev = revision(tx)
			recs = make([]nodedb.Record, 0, min(number(tx, keyCount), 1<<20))
			return s.read(ctx, tx, func(r nodedb.Record) { recs = append(recs, r) })
		})
	})
	if err != nil {
		return nil, 0, err
	}
	return recs, rev, nil
}

// read goes through all records. Each has a checksum; that none is lost or
// comes twice, where a page was damaged, shows in their order and number.
func (s *Store) read(ctx context.Context, tx *bbolt.Tx, fn func(nodedb.Record)) error {
	decoder := new(nodedb.AttrDecoder)
	var last []byte
	n := int64(0)
	err := tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return s.damaged(fmt.Sprintf("record %q comes after %q", k, last))
		}
		r, err := decode(decoder, k, v)
		if err != nil {
			return s.damaged(err)
		}
		fn(r)
		last = k
		n++
		return ctx.Err()
	})
	if want := number(tx, keyCount); err == nil && n != want {
		err = s.damaged(fmt.Sprintf("it has %d of %d records", n, want))
	}
	return err
}

// Watch calls fn for every commit after the given revision.
func (s *Store) Watch(ctx context.Context, after int64, fn func([]nodedb.Record, int64)) error {
	return s.log.watch(ctx, after, fn)
}

// Backup writes a copy of the file as it is at one moment, while it is in use.
func (s *Store) Backup(w io.Writer) error {
	return s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
}
