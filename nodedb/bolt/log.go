package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"margay/nodedb"
)

// Commits are kept in a log first, as what they change and with one sync of a
// file that has its blocks already; from time to time they are folded into the
// table's own file. There are two logs, by turns: one takes commits while the
// other is being folded.
//
// A log is a head and frames, and zeros up to its end:
//
//	head   magic, the table's id, the log's generation, checksum
//	frame  size of the body, checksum, revision of its first commit, body
//
// A frame holds the commits of one sync, so that only the last can be torn. The
// checksum is over id and generation too: what an older log left behind is no
// frame.
const (
	logMagic  = "margay table log"
	headSize  = len(logMagic) + idSize + 8 + 4
	logStart  = 64 // of the first frame
	frameHead = 16
	frameStep = 8         // frames begin at multiples
	logAhead  = 256 << 10 // zeros that are written ahead
	idSize    = 8
)

// logNames are the logs beside a table.
func logNames(path string) [2]string { return [2]string{path + "-log1", path + "-log2"} }

// Logs returns the names of the logs that a table has beside it: none unless it
// is open, or its process was killed. What they hold belongs to the table.
func Logs(path string) []string {
	var list []string
	for _, name := range logNames(path) {
		if _, err := os.Lstat(name); err == nil {
			list = append(list, name)
		}
	}
	return list
}

// A logID says to which table a log belongs, and its place among others.
type logID struct {
	table [idSize]byte
	gen   uint64
}

func (id logID) sum() uint32 {
	b := append(id.table[:], make([]byte, 8)...)
	binary.BigEndian.PutUint64(b[idSize:], id.gen)
	return crc32.Checksum(b, castagnoli)
}

// A logFile is the log that takes commits.
type logFile struct {
	f   *os.File
	id  logID
	off int64 // where the next frame goes
	end int64 // of what has blocks
}

// logKeep is how large a log may be to be used again as it is.
const logKeep = 64 << 20

// createLog begins a log, in place of what the file held.
func createLog(name string, id logID) (*logFile, error) {
	_, statErr := os.Lstat(name)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logFile{f: f, id: id, off: logStart}
	if statErr != nil {
		err = syncDir(filepath.Dir(name))
	}
	var info os.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err == nil && info.Size() > logKeep {
		err = f.Truncate(0)
	} else if err == nil {
		l.end = info.Size()
	}
	if err == nil {
		_, err = f.WriteAt(appendHead(make([]byte, 0, logStart), id), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func appendHead(b []byte, id logID) []byte {
	b = append(b, logMagic...)
	b = append(b, id.table[:]...)
	b = binary.BigEndian.AppendUint64(b, id.gen)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readHead returns whose log b is; ok is false if it is none.
func readHead(b []byte) (id logID, ok bool) {
	if len(b) < headSize || string(b[:len(logMagic)]) != logMagic {
		return id, false
	}
	rest := b[len(logMagic):]
	copy(id.table[:], rest)
	id.gen = binary.BigEndian.Uint64(rest[idSize:])
	return id, crc32.Checksum(b[:headSize-4], castagnoli) == binary.BigEndian.Uint32(b[headSize-4:])
}

// newFrame makes room for a frame's head.
func newFrame(b []byte) []byte { return append(b[:0], make([]byte, frameHead)...) }

// seal fills in a frame's head.
func (id logID) seal(frame []byte, first int64) {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-frameHead))
	binary.BigEndian.PutUint64(frame[8:], uint64(first))
	binary.BigEndian.PutUint32(frame[4:], id.frameSum(frame))
}

func (id logID) frameSum(frame []byte) uint32 {
	sum := crc32.Update(id.sum(), castagnoli, frame[:4])
	return crc32.Update(sum, castagnoli, frame[8:])
}

// frameMost is how long the body of a frame may be.
const frameMost = 1 << 31

// frameAt returns the frame that b begins with; ok is false if it is none.
func (id logID) frameAt(b []byte) (first int64, body []byte, ok bool) {
	if len(b) < frameHead {
		return 0, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || int64(n) > int64(len(b)-frameHead) {
		return 0, nil, false
	}
	frame := b[:frameHead+int(n)]
	if id.frameSum(frame) != binary.BigEndian.Uint32(b[4:]) {
		return 0, nil, false
	}
	return int64(binary.BigEndian.Uint64(b[8:])), frame[frameHead:], true
}

// add writes a frame and waits until it is on disk. After an error the next
// frame takes its place.
func (l *logFile) add(frame []byte) error {
	if len(frame)-frameHead >= frameMost {
		return fmt.Errorf("a change of %d bytes is too large: %w", len(frame), nodedb.ErrInvalid)
	}
	if _, err := l.f.WriteAt(frame, l.off); err != nil {
		return err
	}
	next := l.off + (int64(len(frame))+frameStep-1)/frameStep*frameStep
	if next+frameHead > l.end {
		l.ahead(next)
	}
	if err := fdatasync(l.f); err != nil {
		return err
	}
	l.off = next
	return nil
}

// ahead writes zeros behind from, so that syncs of the frames to come need not
// wait for the file system's own notes. Without room for them it goes on.
func (l *logFile) ahead(from int64) {
	to := (from/logAhead + 2) * logAhead
	if _, err := l.f.WriteAt(make([]byte, to-from), from); err == nil {
		l.end = to
	}
}

func fdatasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// What becomes of a record, as frames have it.
const (
	opGone  = 0
	opWhole = 1 // its attributes
	opPart  = 2 // the revision it was at, and the columns that differ
)

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendCommit appends a commit to a frame.
func appendCommit(b []byte, changes []nodedb.Change) []byte {
	b = binary.AppendUvarint(b, uint64(len(changes)))
	for _, c := range changes {
		b = appendText(appendText(b, string(c.Kind)), c.Name)
		switch {
		case c.Attrs == nil:
			b = append(b, opGone)
		case c.Touched == nil || c.If == 0:
			b = append(b, opWhole)
			b = binary.AppendUvarint(b, uint64(len(c.Attrs)))
			for column, v := range c.Attrs {
				b = appendText(appendText(b, column), v)
			}
		default:
			b = append(b, opPart)
			b = binary.AppendUvarint(b, uint64(c.If))
			b = binary.AppendUvarint(b, uint64(len(c.Touched)))
			for _, column := range c.Touched {
				v, ok := c.Attrs[column]
				b = appendText(b, column)
				if !ok {
					b = append(b, 0)
					continue
				}
				b = appendText(append(b, 1), v)
			}
		}
	}
	return b
}

// A logReader takes a frame's body apart.
type logReader struct {
	b    []byte
	bad  bool
	text *nodedb.AttrDecoder
}

func (r *logReader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count is a number of things that take a byte each at least.
func (r *logReader) count() int {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *logReader) string() string {
	n := r.count()
	s := r.text.Text(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *logReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// attrs reads what a record has after a change. before returns what it had,
// which may be changed, and at which revision; nil: nobody wants to know.
func (r *logReader) attrs(before func() (map[string]string, int64)) map[string]string {
	switch r.byte() {
	case opGone:
		return nil
	case opWhole:
		n := r.count()
		attrs := make(map[string]string, n)
		for range n {
			column := r.string()
			attrs[column] = r.string()
		}
		return attrs
	case opPart:
		return r.part(before)
	}
	r.bad = true
	return nil
}

func (r *logReader) part(before func() (map[string]string, int64)) map[string]string {
	attrs, base := make(map[string]string), int64(r.number())
	if before != nil {
		var at int64
		if attrs, at = before(); attrs == nil || at != base {
			r.bad = true
			return nil
		}
	}
	for range r.count() {
		column := r.string()
		if r.byte() == 0 {
			delete(attrs, column)
			continue
		}
		attrs[column] = r.string()
	}
	return attrs
}

// A foundLog is a log that was there at the start.
type foundLog struct {
	name string
	id   logID
	b    []byte
}

// sector is what a disk writes whole or not at all. A log's head and the
// beginning of its first frame are in one: where there is no head, there is no
// frame that was acknowledged.
const sector = 512

// findLogs reads the logs beside a table, the older first. A file to which no
// head was written holds nothing; one whose head makes no sense is damaged.
func findLogs(path string) ([]foundLog, error) {
	var list []foundLog
	for _, name := range Logs(path) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		id, ok := readHead(b)
		if !ok && len(b) > logStart && len(bytes.Trim(b[:min(sector, len(b))], "\x00")) > 0 {
			return nil, fmt.Errorf("log %s is damaged at its beginning", name)
		}
		if ok {
			list = append(list, foundLog{name, id, b})
		}
	}
	if len(list) == 2 && list[0].id.gen > list[1].id.gen {
		list[0], list[1] = list[1], list[0]
	}
	return list, nil
}

// frames calls fn for each frame. The last may be torn, if its commit was never
// acknowledged; a frame behind one that makes no sense says that a log that was
// whole has been damaged.
func (l foundLog) frames(fn func(first int64, body []byte) error) error {
	off := logStart
	for off < len(l.b) {
		first, body, ok := l.id.frameAt(l.b[off:])
		if !ok {
			break
		}
		if err := fn(first, body); err != nil {
			return err
		}
		off += (frameHead + len(body) + frameStep - 1) / frameStep * frameStep
	}
	for off += frameStep; off < len(l.b); off += frameStep {
		if _, _, ok := l.id.frameAt(l.b[off:]); ok {
			return fmt.Errorf("log %s is damaged before byte %d", l.name, off)
		}
	}
	return nil
}
