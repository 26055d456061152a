package httpd

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"margay/netboot"
)

// A reply is the answer to a request that net/http did not read. Header and body
// leave in one write where the body is small.
type reply struct {
	conn   *quick
	head   bool // of a HEAD: the body is for no one
	last   bool // the connection ends with it
	header http.Header
	status int
	length int64         // as promised, -1 if the header does not tell
	file   *netboot.File // all of it is sent: its header is in place of the other
	begun  bool          // the header is on its way
	sent   int64         // of the body
	body   []byte
	out    *bytes.Buffer
	writer body // what writes it, of a file
	err    error
}

var replies = sync.Pool{New: func() any { return &reply{header: make(http.Header), out: new(bytes.Buffer)} }}

// newReply returns the answer to a request; it is to be freed.
func newReply(c *quick, head, last bool) *reply {
	w := replies.Get().(*reply)
	w.conn, w.head, w.last, w.length = c, head, last, -1
	return w
}

func (w *reply) free() {
	clear(w.header)
	w.out.Reset()
	*w = reply{header: w.header, body: w.body[:0], out: w.out}
	replies.Put(w)
}

func (w *reply) Header() http.Header { return w.header }

func (w *reply) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		w.length = n
	}
}

// bare says whether there is no body.
func (w *reply) bare() bool {
	return w.head || w.status == http.StatusNotModified || w.status == http.StatusNoContent
}

func (w *reply) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.length >= 0 && w.sent+int64(len(w.body)+len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	switch {
	case w.bare():
		return len(p), nil
	case !w.begun && len(w.body)+len(p) <= small:
		w.body = append(w.body, p...)
		return len(p), nil
	case !w.begun:
		if err := w.begin(); err != nil {
			return 0, err
		}
	}
	n, err := w.conn.Write(p)
	w.sent += int64(n)
	w.err = err
	return n, err
}

// begin sends the header and what was written; more is to follow.
func (w *reply) begin() error {
	w.WriteHeader(http.StatusOK)
	if w.length < 0 {
		w.last = true // its end is that of the connection
	}
	return w.flush()
}

func (w *reply) flush() error {
	w.begun = true
	w.out.WriteString("HTTP/1.1 ")
	w.out.WriteString(strconv.Itoa(w.status))
	w.out.WriteByte(' ')
	w.out.WriteString(http.StatusText(w.status))
	w.out.WriteString("\r\nDate: ")
	w.out.WriteString(date())
	w.out.WriteString("\r\n")
	if w.last {
		w.out.WriteString("Connection: close\r\n")
	}
	if w.file == nil {
		_ = w.header.Write(w.out)
	} else {
		w.describe(w.file)
	}
	w.out.WriteString("\r\n")
	w.out.Write(w.body)
	w.sent += int64(len(w.body))
	w.body = w.body[:0]
	_, w.err = w.conn.Write(w.out.Bytes())
	return w.err
}

// describe has the header that http.ServeContent gives a file.
func (w *reply) describe(f *netboot.File) {
	to := w.out
	to.WriteString("Accept-Ranges: bytes\r\n")
	if f.ModTime.IsZero() {
		to.WriteString("Cache-Control: no-store\r\n")
	}
	to.WriteString("Content-Length: ")
	to.Write(strconv.AppendInt(to.AvailableBuffer(), w.length, 10))
	to.WriteString("\r\nContent-Type: ")
	to.WriteString(mediaType(f))
	if !f.ModTime.IsZero() && !f.ModTime.Equal(time.Unix(0, 0)) {
		to.WriteString("\r\nLast-Modified: ")
		to.Write(f.ModTime.UTC().AppendFormat(to.AvailableBuffer(), http.TimeFormat))
	}
	to.WriteString("\r\n")
}

// promise says that all of a file is to follow.
func (w *reply) promise(f *netboot.File) {
	w.file, w.status, w.length = f, http.StatusOK, f.Size
}

// stream sends a body from src, which is at pos; moved is called as it goes.
func (w *reply) stream(src *io.LimitedReader, pos int64, moved func(int64)) (n int64, err error) {
	if w.bare() {
		return src.N, nil
	}
	w.conn.cork(true) // only full packets leave, until all is on its way
	defer w.conn.cork(false)
	if !w.begun {
		if err := w.begin(); err != nil {
			return 0, err
		}
	}
	n, err = w.conn.send(src, pos, moved)
	w.sent += n
	w.err = err
	return n, err
}

// end sends what is not yet sent, and says whether another answer can follow.
func (w *reply) end() bool {
	w.WriteHeader(http.StatusOK)
	if !w.begun {
		if w.length < 0 && !w.bare() {
			w.length = int64(len(w.body))
			w.header.Set("Content-Length", strconv.FormatInt(w.length, 10))
		}
		if w.file == nil { // else it has its time
			w.conn.extend(time.Now())
		}
		_ = w.flush()
	}
	return w.err == nil && !w.last && (w.bare() || w.sent == w.length)
}

// date is the time of now as a header tells it (RFC 9110, section 5.6.7).
func date() string {
	now := time.Now()
	if d := dated.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dateText{now.Unix(), now.UTC().Format(http.TimeFormat)}
	dated.Store(d)
	return d.text
}

type dateText struct {
	second int64
	text   string
}

var dated atomic.Pointer[dateText]
