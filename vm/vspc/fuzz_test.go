package vspc

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// A wire is a connection on which everything has been said already.
type wire struct {
	in  io.Reader
	out bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)       { return w.in.Read(p) }
func (w *wire) Write(p []byte) (int, error)      { return w.out.Write(p) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// Nothing that a host sends does harm, and what is answered stays in
// proportion.
func FuzzLine(f *testing.F) {
	f.Add([]byte("\xff\xfb\xe8\xff\xfa\xe8\x00\x52\x53\xff\xf0\xff\xfa\xe8\x46Svm1\xff\xf0\xff\xfa\xe8\x52vm1\xff\xf0hello"))
	f.Add([]byte("\xff\xfa\xe8\x28\x00\x00\x00\x01\xff\xf0"))
	f.Add([]byte("\xff\xfd\x01\xff\xfe\x01\xff\xfb\x00\r\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		w := &wire{in: bytes.NewReader(in)}
		said := 0
		s := &Server{Line: func(_ Guest, line io.ReadWriteCloser) {
			n, _ := io.Copy(io.Discard, line)
			said = int(n)
		}}
		s.serve(w, addrOf(w))
		if said > len(in) || w.out.Len() > 64*len(in)+64 {
			t.Errorf("%d bytes in, %d said, %d answered", len(in), said, w.out.Len())
		}
		if len(s.moves) > 0 {
			t.Errorf("%d moves of a line that has ended", len(s.moves))
		}
	})
}
