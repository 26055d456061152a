package redfish

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"margay/provision/bmc"
)

// A Redfish service is a stranger: its links may point anywhere, its answers
// may have no end, its certificate is its own. What is sent goes to the target
// and to nobody else, or the credentials would go along.

const (
	maxBody     = 8 << 20
	maxIdle     = 90 * time.Second
	tlsPatience = 10 * time.Second
)

// guard lets requests pass to one host and bounds what comes back.
type guard struct {
	host string
	next *http.Transport
}

// RoundTrip sends a request if it goes where it may.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || r.URL.Host != g.host || r.URL.User != nil {
		return nil, fmt.Errorf("the service links to %s, which is not its own: refused", r.URL.Redacted())
	}
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxBody {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s: answer of %d bytes: refused", r.URL.Path, resp.ContentLength)
	}
	resp.Body = bounded{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}

// bounded is a body that ends.
type bounded struct {
	io.Reader
	io.Closer
}

// knock finds out whether anybody is there, before a place is taken up by
// waiting for it.
func knock(ctx context.Context, address string, patience time.Duration) (net.Conn, error) {
	resume := bmc.Pause(ctx)
	d := net.Dialer{Timeout: patience}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := resume(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// client is an HTTP client for one target whose first connection stands
// already. check is asked about the certificate that the service shows.
func client(t bmc.Target, first net.Conn, check func(fingerprint string) error) *http.Client {
	ready := make(chan net.Conn, 1)
	ready <- first
	d := net.Dialer{Timeout: t.Patience()}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case c := <-ready:
				return c, nil
			default:
				return d.DialContext(ctx, "tcp", t.HostPort(443))
			}
		},
		TLSClientConfig:        tlsConfig(check),
		TLSHandshakeTimeout:    max(tlsPatience, t.Patience()), // a BMC's first can take seconds
		ResponseHeaderTimeout:  max(30*time.Second, t.Patience()),
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        2,
		IdleConnTimeout:        maxIdle,
	}
	return &http.Client{
		Transport:     &guard{host: t.HostPort(443), next: transport},
		CheckRedirect: redirect,
	}
}

// redirect follows a few; guard sees where they lead.
func redirect(_ *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("the service redirects in circles")
	}
	return nil
}

// tlsConfig pins instead of verifying: controllers come with certificates that
// nobody signed. Older ones know no forward secrecy, so those suites are taken
// too where nothing better is offered.
func tlsConfig(check func(string) error) *tls.Config {
	var suites []uint16
	for _, s := range tls.CipherSuites() {
		suites = append(suites, s.ID)
	}
	suites = append(suites, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		CipherSuites:       suites,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection pins
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the service shows no certificate")
			}
			return check(fingerprint(s.PeerCertificates[0].Raw))
		},
	}
}

// fingerprint is SHA-256 of a certificate, as openssl prints it but in lower
// case.
func fingerprint(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}
