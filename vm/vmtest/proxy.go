package vmtest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// A Proxy passes connections on, in the ways that HTTP's CONNECT and SOCKS 4,
// 4A and 5 have, and says what it was asked for.
type Proxy struct {
	Addr string

	mu  sync.Mutex
	got []string // "socks5 host:port"; guarded by mu
}

// NewProxy starts a proxy that ends with the test.
func NewProxy(tb testing.TB) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String()}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

// Got is what it was asked for, each as "kind host:port".
func (p *Proxy) Got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.got...)
}

func (p *Proxy) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	first, err := r.Peek(1)
	if err != nil {
		return
	}
	kind, addr, yes := "", "", ""
	switch first[0] {
	case 4:
		kind, addr = socks4Asked(r)
		yes = "\x00\x5a\x00\x00\x00\x00\x00\x00"
	case 5:
		kind = "socks5"
		addr = socks5Asked(r, c)
		yes = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	default:
		req, err := http.ReadRequest(r)
		if err != nil || req.Method != http.MethodConnect {
			io.WriteString(c, "HTTP/1.1 405 Method Not Allowed\r\n\r\n")
			return
		}
		kind, addr = "http", req.Host
		yes = "HTTP/1.1 200 Connection established\r\n\r\n"
	}
	if addr == "" {
		return
	}
	p.mu.Lock()
	p.got = append(p.got, kind+" "+addr)
	p.mu.Unlock()
	to, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer to.Close()
	io.WriteString(c, yes)
	go func() {
		io.Copy(to, r)
		to.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(c, to)
}

func socks4Asked(r *bufio.Reader) (kind, addr string) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || head[1] != 1 {
		return "", ""
	}
	if _, err := r.ReadString(0); err != nil { // the user
		return "", ""
	}
	port := strconv.Itoa(int(binary.BigEndian.Uint16(head[2:])))
	if head[4] == 0 && head[5] == 0 && head[6] == 0 && head[7] != 0 {
		name, err := r.ReadString(0)
		if err != nil {
			return "", ""
		}
		return "socks4a", net.JoinHostPort(name[:len(name)-1], port)
	}
	return "socks4", net.JoinHostPort(net.IP(head[4:]).String(), port)
}

func socks5Asked(r *bufio.Reader, c net.Conn) string {
	var b [255]byte
	read := func(n int) bool { _, err := io.ReadFull(r, b[:n]); return err == nil }
	if !read(2) || !read(int(b[1])) {
		return ""
	}
	io.WriteString(c, "\x05\x00")
	if !read(4) || b[1] != 1 {
		return ""
	}
	host := ""
	switch b[3] {
	case 1:
		if !read(4) {
			return ""
		}
		host = net.IP(b[:4]).String()
	case 3:
		if !read(1) {
			return ""
		}
		n := int(b[0])
		if !read(n) {
			return ""
		}
		host = string(b[:n])
	case 4:
		if !read(16) {
			return ""
		}
		host = net.IP(b[:16]).String()
	}
	return hostPort(host, r)
}

func hostPort(host string, r *bufio.Reader) string {
	var port [2]byte
	if _, err := io.ReadFull(r, port[:]); err != nil {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:]))))
}
