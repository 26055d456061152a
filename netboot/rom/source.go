package rom

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
)

// A source is where a program loads its files from.
type source interface {
	// size asks how large a file is without loading it.
	size(name string) (int64, error)
	// load loads a file that is kept.
	load(name string, most limit) ([]byte, error)
	// copy loads a file into w.
	copy(name string, w io.Writer) (int64, error)
	// dir is the loader's own directory.
	dir() string
}

// An httpSource loads by HTTP, relative names from beside base.
type httpSource struct {
	b      *boot
	agent  string
	native bool
	base   string
}

func (s httpSource) size(name string) (int64, error) {
	a, err := s.b.http.do(s.request(http.MethodHead, name), io.Discard)
	if err != nil {
		return 0, err
	}
	return a.length, nil
}

func (s httpSource) load(name string, most limit) ([]byte, error) {
	w := &bounded{most: most}
	_, err := s.copy(name, w)
	return w.buf.Bytes(), err
}

func (s httpSource) copy(name string, w io.Writer) (int64, error) {
	a, err := s.b.http.do(s.request(http.MethodGet, name), w)
	if err != nil {
		return 0, err
	}
	return a.sent, nil
}

func (s httpSource) request(method, name string) request {
	return request{method: method, url: resolve(s.base, name), agent: s.agent, native: s.native}
}

func (s httpSource) dir() string {
	base, _, _ := strings.Cut(s.base, "?")
	return base[:strings.LastIndex(base, "/")]
}

// An ipxeSource loads what iPXE can: http and tftp addresses, and names
// relative to where the program came from.
type ipxeSource struct {
	b    *boot
	base string
}

func (s ipxeSource) by(name string) (source, string) {
	at := resolve(s.base, name)
	if rest, ok := strings.CutPrefix(at, "tftp://"); ok {
		host, file, _ := strings.Cut(rest, "/")
		if server, err := netip.ParseAddr(host); err == nil {
			return tftpSource{b: s.b, server: server}, file
		}
	}
	if !isURL(at) {
		return tftpSource{b: s.b, server: s.b.lease.Next}, at
	}
	return httpSource{b: s.b, agent: agentIPXE}, at
}

// size is not told before a file is loaded.
func (s ipxeSource) size(string) (int64, error) { return -1, nil }

func (s ipxeSource) load(name string, most limit) ([]byte, error) {
	src, at := s.by(name)
	return src.load(at, most)
}

func (s ipxeSource) copy(name string, w io.Writer) (int64, error) {
	src, at := s.by(name)
	return src.copy(at, w)
}

func (s ipxeSource) dir() string { return "" }
