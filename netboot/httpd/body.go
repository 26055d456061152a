package httpd

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// slice is how much of a file is sent before the client's time begins anew.
// With stallTime it is the slowest rate that is served: 17 kB/s.
const slice = 1 << 20

// A body writes the body of an answer: counted, and with a deadline that moves
// as the client takes it. It passes files on so that net/http sees them and
// uses sendfile.
type body struct {
	http.ResponseWriter
	control *http.ResponseController
	length  int64 // the Content-Length; -1 before it is known, 0 without a body
	sent    int64
	err     error
}

func newBody(w http.ResponseWriter) *body {
	return &body{ResponseWriter: w, control: http.NewResponseController(w), length: -1}
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

func (b *body) extend() { _ = b.control.SetWriteDeadline(time.Now().Add(stallTime)) }

func (b *body) Write(p []byte) (int, error) {
	b.extend()
	n, err := b.ResponseWriter.Write(p)
	return n, b.note(int64(n), err)
}

// ReadFrom sends what is left of src, slice by slice.
func (b *body) ReadFrom(src io.Reader) (total int64, err error) {
	to, ok := b.ResponseWriter.(io.ReaderFrom)
	limited, ok2 := src.(*io.LimitedReader)
	if !ok || !ok2 {
		return io.Copy(struct{ io.Writer }{b}, src)
	}
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

func (b *body) note(n int64, err error) error {
	b.sent += n
	if err != nil && b.err == nil {
		b.err = err
	}
	return err
}

// fault is why less was sent than promised.
func (b *body) fault() error {
	switch {
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return errors.New("the client stopped reading")
	case b.err != nil:
		return errors.New("the client closed the connection")
	}
	return errors.New("the file is shorter than it was")
}
