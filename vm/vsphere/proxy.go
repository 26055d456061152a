package vsphere

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"margay/vm"
)

// setProxy sends a transport's connections through a proxy: the one that the
// endpoint names, else the environment's.
func setProxy(t *http.Transport, p *url.URL) error {
	if p == nil {
		t.Proxy = http.ProxyFromEnvironment
		return nil
	}
	switch p.Scheme {
	case "http", "socks5":
		t.Proxy = http.ProxyURL(p)
	case "socks4", "socks4a":
		t.Proxy = nil
		t.DialContext = socks4(p)
	default:
		return vm.Errorf(vm.ErrInvalid, "proxy type %q is unknown", p.Scheme)
	}
	return nil
}

// socks4 dials through a SOCKS 4 proxy (Y.-D. Lee, "SOCKS: a protocol for TCP
// proxy across firewalls"). With version 4 the name is resolved here; 4A sends
// it on behind an address of 0.0.0.1.
func socks4(p *url.URL) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		req, err := socks4Request(ctx, p, addr)
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", p.Host)
		if err != nil {
			return nil, err
		}
		if err := socks4Shake(conn, req); err != nil {
			conn.Close()
			return nil, fmt.Errorf("proxy %s: %w", p.Host, err)
		}
		return conn, nil
	}
}

func socks4Request(ctx context.Context, p *url.URL, addr string) ([]byte, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	ip, name := net.ParseIP(host).To4(), ""
	if ip == nil && p.Scheme == "socks4a" {
		ip, name = net.IP{0, 0, 0, 1}, host
	}
	if ip == nil {
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", host)
		if err != nil {
			return nil, err
		}
		ip = ips[0].To4()
	}
	req := binary.BigEndian.AppendUint16([]byte{4, 1}, uint16(port))
	req = append(req, ip...)
	req = append(req, p.User.Username()...)
	req = append(req, 0)
	if name != "" {
		req = append(append(req, name...), 0)
	}
	return req, nil
}

func socks4Shake(conn net.Conn, req []byte) error {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	defer conn.SetDeadline(time.Time{})
	if _, err := conn.Write(req); err != nil {
		return err
	}
	var answer [8]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[1] != 90 {
		return fmt.Errorf("request refused (code %d)", answer[1])
	}
	return nil
}
