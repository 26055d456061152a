package vsphere

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"margay/vm"
)

// Connect opens a TCP connection through an endpoint's proxy, or without one
// where it names none. Backends that speak other than HTTP use it.
func Connect(ctx context.Context, e vm.Endpoint, addr string) (net.Conn, error) {
	var d net.Dialer
	if e.Proxy == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	switch e.Proxy.Scheme {
	case "socks4", "socks4a":
		return socks4(e.Proxy)(ctx, "tcp", addr)
	case "http", "socks5":
	default:
		return nil, vm.Errorf(vm.ErrInvalid, "proxy type %q is unknown", e.Proxy.Scheme)
	}
	conn, err := d.DialContext(ctx, "tcp", e.Proxy.Host)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	through := httpConnect
	if e.Proxy.Scheme == "socks5" {
		through = socks5
	}
	out, err := through(conn, e.Proxy, addr)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("proxy %s: %w", e.Proxy.Host, err)
	}
	conn.SetDeadline(time.Time{})
	return out, nil
}

// A readAhead is a connection of which some has been read already.
type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (c *readAhead) Read(p []byte) (int, error) { return c.r.Read(p) }

// httpConnect asks an HTTP proxy for a tunnel (RFC 9110, 9.3.6).
func httpConnect(conn net.Conn, p *url.URL, addr string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if pass, ok := p.User.Password(); ok {
		req.SetBasicAuth(p.User.Username(), pass)
		req.Header["Proxy-Authorization"] = req.Header["Authorization"]
		req.Header.Del("Authorization")
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	return &readAhead{conn, r}, nil
}

// socks5 asks a SOCKS 5 proxy for a connection (RFC 1928). Names are the
// proxy's to resolve.
func socks5(conn net.Conn, p *url.URL, addr string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	if err := socks5Auth(conn, p.User); err != nil {
		return nil, err
	}
	req := []byte{5, 1, 0}
	switch ip := net.ParseIP(host); {
	case ip.To4() != nil:
		req = append(append(req, 1), ip.To4()...)
	case ip != nil:
		req = append(append(req, 4), ip...)
	case len(host) > 255:
		return nil, fmt.Errorf("name %.20q... is too long", host)
	default:
		req = append(append(req, 3, byte(len(host))), host...)
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint16(req, uint16(port))); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	if head[1] != 0 {
		return nil, fmt.Errorf("request refused (code %d)", head[1])
	}
	rest := 0
	switch head[3] {
	case 1:
		rest = 4
	case 4:
		rest = 16
	case 3:
		var n [1]byte
		if _, err := io.ReadFull(conn, n[:]); err != nil {
			return nil, err
		}
		rest = int(n[0])
	default:
		return nil, fmt.Errorf("answers with address type %d", head[3])
	}
	_, err = io.CopyN(io.Discard, conn, int64(rest+2))
	return conn, err
}

// socks5Auth says who we are, if the proxy wants to know (RFC 1929).
func socks5Auth(conn net.Conn, user *url.Userinfo) error {
	offer := []byte{5, 1, 0}
	pass, hasPass := user.Password()
	if hasPass {
		offer = []byte{5, 2, 0, 2}
	}
	if _, err := conn.Write(offer); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	switch {
	case answer[0] == 5 && answer[1] == 0:
		return nil
	case answer[0] != 5 || answer[1] != 2 || !hasPass || len(user.Username()) > 255 || len(pass) > 255:
		return fmt.Errorf("takes none of our ways to log in (%d)", answer[1])
	}
	login := append([]byte{1, byte(len(user.Username()))}, user.Username()...)
	login = append(append(login, byte(len(pass))), pass...)
	if _, err := conn.Write(login); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[1] != 0 {
		return errors.New("user or password refused")
	}
	return nil
}
