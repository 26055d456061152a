package httpd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// slice is how much of a file is sent before the client's time begins anew.
// With stallTime it is the slowest rate that is served: 17 kB/s.
const slice = 1 << 20

// small is up to where a body is read and written in one piece with the header
// before it: one packet in place of two, and no sendfile(2) for what a page
// holds.
const small = 32 << 10

// A body writes the body of an answer: counted, and with a deadline that moves
// as the client takes it. It passes files on so that net/http sees them and
// uses sendfile.
type body struct {
	http.ResponseWriter
	control  *http.ResponseController // nil: of a reply
	conn     *quick                   // nil: by HTTPS
	reply    *reply                   // nil: net/http's
	turn     *turn                    // may be nil
	extended time.Time
	length   int64 // the Content-Length; -1 before it is known, 0 without a body
	sent     int64
	err      error
}

func newBody(w http.ResponseWriter, r *http.Request) *body {
	if own, ok := w.(*reply); ok {
		own.writer = body{ResponseWriter: w, conn: own.conn, reply: own, length: -1}
		return &own.writer
	}
	conn, _ := r.Context().Value(quickKey{}).(*quick)
	return &body{ResponseWriter: w, control: http.NewResponseController(w), conn: conn, length: -1}
}

// all sends all of f, as http.ServeContent does, unless a part of it is asked
// for, or on a condition, or net/http read the request: then it says no.
func (b *body) all(r *http.Request, f *netboot.File) bool {
	if b.reply == nil || f.Size < 0 {
		return false
	}
	for _, part := range []string{"Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if _, ok := r.Header[part]; ok {
			return false
		}
	}
	b.length = f.Size
	b.extend()
	b.reply.promise(f)
	src := &io.LimitedReader{R: f.Body, N: f.Size}
	switch {
	case r.Method == http.MethodHead:
	case f.Size <= small:
		_, _ = b.whole(src)
	default:
		_, _ = b.stream(src, 0)
	}
	return true
}

// WriteHeader notes what length was promised.
func (b *body) WriteHeader(status int) {
	b.length = 0
	if status == http.StatusOK || status == http.StatusPartialContent {
		b.length, _ = strconv.ParseInt(b.Header().Get("Content-Length"), 10, 64)
	}
	b.extend()
	b.ResponseWriter.WriteHeader(status)
}

// extend gives the client its time anew, which for what it took within a
// second it did not need.
func (b *body) extend() {
	now := time.Now()
	if now.Sub(b.extended) <= time.Second {
		return
	}
	b.extended = now
	b.turn.took(now)
	if b.reply == nil {
		_ = b.control.SetWriteDeadline(now.Add(stallTime))
		return
	}
	b.conn.extend(now)
}

func (b *body) Write(p []byte) (int, error) {
	b.extend()
	n, err := b.ResponseWriter.Write(p)
	return n, b.note(int64(n), err)
}

var buffers = sync.Pool{New: func() any { return new([small]byte) }}

// ReadFrom sends what is left of src, slice by slice.
func (b *body) ReadFrom(src io.Reader) (total int64, err error) {
	to, ok := b.ResponseWriter.(io.ReaderFrom)
	limited, ok2 := src.(*io.LimitedReader)
	switch {
	case !ok2 || !ok && b.reply == nil:
		return io.Copy(struct{ io.Writer }{b}, src)
	case limited.N <= small:
		return b.whole(limited)
	case b.reply != nil:
		pos, err := position(limited.R)
		if err != nil {
			return 0, err
		}
		return b.stream(limited, pos)
	}
	defer b.begin()()
	for limited.N > 0 {
		part := &io.LimitedReader{R: limited.R, N: min(limited.N, slice)}
		want := part.N
		b.extend()
		n, err := to.ReadFrom(part)
		total += n
		limited.N -= n
		if b.note(n, err) != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// stream sends what is left of src, which is at pos, without more calls than
// there is room for: the client's time begins anew with each slice of it.
func (b *body) stream(src *io.LimitedReader, pos int64) (total int64, err error) {
	b.extend()
	taken := int64(0)
	total, err = b.reply.stream(src, pos, func(n int64) {
		if taken += n; taken >= slice {
			taken = 0
			b.extend()
		}
	})
	return total, b.note(total, err)
}

// begin sends the header, and with it no first piece of the file, which net/http
// would copy there: what is left would begin amidst a page, and sendfile(2) would
// send each page in two pieces. Until end is called, only full packets leave.
func (b *body) begin() (end func()) {
	b.conn.cork(true)
	b.extend()
	_ = b.control.Flush()
	return func() { b.conn.cork(false) }
}

// whole sends a body that fits a buffer.
func (b *body) whole(src *io.LimitedReader) (int64, error) {
	buf := buffers.Get().(*[small]byte)
	defer buffers.Put(buf)
	n, err := io.ReadFull(src.R, buf[:src.N])
	src.N -= int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil // shorter than it was: fault tells
	}
	_ = b.note(0, err)
	sent, werr := b.Write(buf[:n])
	return int64(sent), cmp.Or(err, werr)
}

func (b *body) note(n int64, err error) error {
	b.sent += n
	if err != nil && b.err == nil {
		b.err = err
	}
	return err
}

// fault is why less was sent than promised.
func (b *body) fault() error {
	var file *fs.PathError
	switch {
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return errors.New("the client stopped reading")
	case errors.As(b.err, &file), errors.Is(b.err, unix.EIO), errors.Is(b.err, unix.EBADMSG), errors.Is(b.err, unix.ESTALE):
		return fmt.Errorf("the file cannot be read: %v", b.err)
	case b.err != nil:
		return errors.New("the client closed the connection")
	}
	return errors.New("the file is shorter than it was")
}
