// Package bolt keeps the table in one file, with bbolt.
//
// Records are kept whole, one key each. Commits go to a log beside the file,
// those that come together with one sync, and from there to the file now and
// then, and on Close: a file whose process has ended well has no log. The file
// belongs to one process: who else opens it is told so.
package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
	settle   chan chan error // asks for all to be in the file
	stop     chan struct{}   // closed by Close
	done     chan struct{}   // closed when the writer has ended
	close    func() error

	// What the writer alone touches.
	id         [idSize]byte // of the table
	gen        uint64       // of the log
	file       *logFile     // that takes commits; nil: none has been begun
	frame      []byte       // memory for the next one
	foldAt     int64        // how large the log may be
	folding    chan error   // nil: nobody folds
	foldFailed time.Time
	hurry      atomic.Bool // somebody waits for what is being folded

	mu        sync.Mutex // held by the writer when it changes these, and by others to read them
	live      layer      // what the log has
	frozen    layer      // what is being folded
	frozenRev int64      // that the file is at then
	rev       int64      // the newest

	log recent
}

var _ nodedb.Store = (*Store)(nil)

var (
	bucketRecords = []byte("records")
	bucketMeta    = []byte("meta")
	keyRev        = []byte("rev")
	keyCount      = []byte("count") // of records
	keyFormat     = []byte("format")
	keyID         = []byte("id") // of the table, as its logs have it
)

// The file's format; 1 had no logs.
const (
	format    = 2
	formatOld = 1
)

// mapped is how much address space the file is given at once: where that is
// too little, everything in it has to move. growStep is how much it grows by.
const (
	mapped   = 1 << 30
	growStep = 1 << 20
)

// lockWait is how long to wait for another process to let go of the file.
const lockWait = time.Second

// Open opens the file, making it if there is none. A file that another process
// has open, that is damaged, or that is none of ours makes an error that says
// so.
func Open(path string) (*Store, error) {
	s := &Store{path: path, requests: make(chan *request), settle: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{}), live: make(layer), foldAt: foldSize}
	s.close = sync.OnceValue(s.end)
	err := s.guard(func() error {
		// The list of free pages stays in the file: where it is missing, bbolt
		// makes it in a goroutine of its own, whose panics nobody can catch.
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapped})
		if err != nil {
			return err
		}
		db.AllocSize = growStep
		s.db = db
		if err := s.prepare(); err != nil {
			return err
		}
		if err := s.recover(); err != nil {
			return err
		}
		s.log.start(s.rev)
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
	current := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return nil
		}
		v := meta.Get(keyFormat)
		if v != nil && !bytes.Equal(v, []byte{format}) && !bytes.Equal(v, []byte{formatOld}) {
			return errFormat
		}
		current = bytes.Equal(v, []byte{format}) && len(meta.Get(keyID)) == idSize && tx.Bucket(bucketRecords) != nil
		copy(s.id[:], meta.Get(keyID))
		s.rev = revision(tx)
		return nil
	})
	if err != nil || current {
		return err
	}
	rand.Read(s.id[:])
	return s.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketRecords); err != nil {
			return err
		}
		return errors.Join(meta.Put(keyFormat, []byte{format}), meta.Put(keyID, s.id[:]))
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

// Close ends all watches, folds the log into the file and closes it. Commits
// under way are finished.
func (s *Store) Close() error { return s.close() }

func (s *Store) end() error {
	close(s.stop)
	<-s.done
	s.log.end()
	err := s.foldAll()
	if s.file != nil {
		s.file.f.Close()
	}
	if err == nil {
		err = s.removeLogs()
	}
	return errors.Join(err, s.db.Close())
}

// Watch calls fn for every commit after the given revision.
func (s *Store) Watch(ctx context.Context, after int64, fn func([]nodedb.Record, int64)) error {
	return s.log.watch(ctx, after, fn)
}

// Backup writes a copy of the file as it is at one moment, while it is in use.
func (s *Store) Backup(w io.Writer) error {
	done := make(chan error, 1)
	select {
	case s.settle <- done:
	case <-s.stop:
		return errClosed
	}
	if err := <-done; err != nil {
		return err
	}
	return s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
}
