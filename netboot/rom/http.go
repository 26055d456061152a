package rom

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// The names by which programs present themselves.
const (
	agentFirmware  = "UefiHttpBoot/1.0"
	agentIPXE      = "iPXE/1.21.1+"
	agentMboot     = "esx-boot/2.0"
	agentInstaller = "Python-urllib/3.11"
)

const (
	httpTries     = 3                // mboot's
	httpRedirects = 5                // iPXE's patience
	httpStall     = 10 * time.Second // without a byte, for who has no more patience
	httpRetries   = 20               // of a server that says 503 with Retry-After
)

// An httpClient keeps one connection, as loaders do. It dials in the goroutine
// that asks.
type httpClient struct {
	m    *Machine
	ctx  context.Context
	host string
	conn net.Conn
	in   *bufio.Reader
}

func (c *httpClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// A request is what is asked for, and by whom.
type request struct {
	method string
	url    string
	agent  string
	native bool // by firmware's own HTTP: no redirects, no chunks
	body   string
}

// An answer is what came. Length is -1 where it was not told.
type answer struct {
	status  int
	length  int64
	sent    int64
	chunked bool
	header  http.Header
}

// A statusError is an answer that is not what was asked for.
type statusError struct {
	status int
	reason string // the server's sentence
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%d %s", e.status, http.StatusText(e.status))
	if e.reason != "" {
		s += ": " + e.reason
	}
	return s
}

// do asks for r and writes the body to w. It tries again after a fault of the
// network, follows redirects unless native, and comes back when told to.
func (c *httpClient) do(r request, w io.Writer) (*answer, error) {
	at := r.url
	for redirects, retries, tries := 0, 0, 1; ; {
		a, err := c.once(r, at, w)
		var status *statusError
		switch {
		case err == nil:
			return a, nil
		case c.ctx.Err() != nil:
			return nil, c.ctx.Err()
		case !errors.As(err, &status):
			if tries++; tries > httpTries || a != nil && a.sent > 0 || !temporary(err) {
				return nil, fmt.Errorf("%s: %w", Redact(at), err)
			}
		case status.status >= 301 && status.status <= 308 && status.status != 304 && !r.native && redirects < httpRedirects:
			redirects++
			at = resolve(at, a.header.Get("Location"))
		case status.status == http.StatusServiceUnavailable && !r.native && retries < httpRetries && a.header.Get("Retry-After") != "":
			retries++
			if err := c.sleep(a.header.Get("Retry-After")); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s: %w", Redact(at), err)
		}
	}
}

// errFormat is an answer that no second try makes better.
var errFormat = errors.New("no HTTP that a loader takes")

func temporary(err error) bool { return !errors.Is(err, errFormat) && !errors.Is(err, errTooLarge) }

func (c *httpClient) sleep(seconds string) error {
	d, err := time.ParseDuration(seconds + "s")
	if err != nil || d < 0 || d > time.Minute {
		d = 5 * time.Second
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-timer.C:
		return nil
	}
}

// once asks at one address. An answer comes back also with a *statusError.
func (c *httpClient) once(r request, at string, w io.Writer) (*answer, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("no address: %w", errFormat)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("scheme %s is not played; use http or https: %w", u.Scheme, errFormat)
	}
	if u.Scheme == "https" && r.agent == agentIPXE {
		return nil, fmt.Errorf("iPXE trusts no authority that is not built into it (Permission denied, 0216eb8f); give it http: %w", errFormat)
	}
	req, err := http.NewRequestWithContext(c.ctx, r.method, at, strings.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%v: %w", err, errFormat)
	}
	req.Header.Set("User-Agent", r.agent)
	if c.m.Probe != "" {
		req.Header.Set("Margay-Probe", c.m.Probe)
	}
	resp, err := c.exchange(req)
	if err != nil {
		return nil, err
	}
	return c.read(r, resp, w)
}

// exchange sends req and reads the answer's header. A kept connection may have
// been closed meanwhile: then it dials anew.
func (c *httpClient) exchange(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	if req.URL.Port() == "" {
		host = net.JoinHostPort(req.URL.Hostname(), map[string]string{"http": "80", "https": "443"}[req.URL.Scheme])
	}
	host = req.URL.Scheme + "://" + host
	if c.conn != nil && c.host == host {
		if resp, err := c.try(req); err == nil {
			return resp, nil
		}
		if req.GetBody != nil {
			req.Body, _ = req.GetBody()
		}
	}
	c.close()
	if err := c.dial(host, c.security(req)); err != nil {
		return nil, err
	}
	resp, err := c.try(req)
	if err != nil {
		c.close()
	}
	return resp, err
}

// security is how a client looks at the server's certificate; nil: by HTTP
// there is none. Firmware and mboot, which uses it, believe what was enrolled;
// ESXi's installer checks nothing.
func (c *httpClient) security(req *http.Request) *tls.Config {
	if req.URL.Scheme != "https" {
		return nil
	}
	cfg := &tls.Config{ServerName: req.URL.Hostname(), MinVersion: tls.VersionTLS12, RootCAs: c.m.Trust}
	if cfg.RootCAs == nil {
		cfg.RootCAs = x509.NewCertPool()
	}
	cfg.InsecureSkipVerify = req.UserAgent() == agentInstaller
	return cfg
}

func (c *httpClient) dial(host string, security *tls.Config) error {
	d := net.Dialer{Timeout: c.m.stall()}
	if c.m.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.m.Source, 0))
	}
	_, at, _ := strings.Cut(host, "://")
	conn, err := d.DialContext(c.ctx, "tcp", at)
	if err != nil {
		return err
	}
	if security != nil {
		s := tls.Client(conn, security)
		ctx, cancel := context.WithTimeout(c.ctx, c.m.stall())
		defer cancel()
		if err := s.HandshakeContext(ctx); err != nil {
			conn.Close()
			return notTrusted(err)
		}
		conn = s
	}
	c.conn, c.host, c.in = conn, host, bufio.NewReaderSize(conn, 32<<10)
	return nil
}

// notTrusted names what firmware would not: edk2 says "Failed to connect" of
// any fault of TLS.
func notTrusted(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%v: the server's authority is not enrolled in the firmware: %w", err, errFormat)
	}
	return fmt.Errorf("TLS: %v: %w", err, errFormat)
}

func (c *httpClient) try(req *http.Request) (*http.Response, error) {
	defer c.watch()()
	if err := req.Write(c.conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.in, req)
}

// watch sets the time that the other side has, and cuts it short with the
// context.
func (c *httpClient) watch() (stop func() bool) {
	conn := c.conn
	conn.SetDeadline(time.Now().Add(c.m.stall()))
	return context.AfterFunc(c.ctx, func() { conn.SetDeadline(time.Now()) })
}

// read takes the body, holds the answer to what the client can bear, and
// keeps the connection if the server does.
func (c *httpClient) read(r request, resp *http.Response, w io.Writer) (*answer, error) {
	a := &answer{status: resp.StatusCode, length: resp.ContentLength, header: resp.Header,
		chunked: len(resp.TransferEncoding) > 0}
	defer resp.Body.Close()
	if a.status != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		c.close()
		return a, &statusError{a.status, firstLine(string(reason))}
	}
	if err := fits(r, a); err != nil {
		c.close()
		return a, err
	}
	if r.method != http.MethodHead {
		defer c.watch()()
		n, err := io.Copy(w, &steady{c.conn, c.m.stall(), resp.Body})
		a.sent = n
		if err != nil {
			c.close()
			return a, fmt.Errorf("after %d bytes: %w", n, err)
		}
	}
	if resp.Close {
		c.close()
	}
	return a, nil
}

func fits(r request, a *answer) error {
	if !r.native {
		return nil
	}
	if a.chunked {
		return fmt.Errorf("a chunked answer, of which the loader dies: %w", errFormat)
	}
	if a.length < 0 {
		return fmt.Errorf("an answer without Content-Length: %w", errFormat)
	}
	return nil
}

// steady moves the deadline as bytes arrive.
type steady struct {
	conn  net.Conn
	stall time.Duration
	io.Reader
}

func (s *steady) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if n > 0 {
		s.conn.SetReadDeadline(time.Now().Add(s.stall))
	}
	return n, err
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(s)
}
