package vsphere

import (
	"context"
	"crypto/sha1" // the form in which vCenter names certificates
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"

	"margay/vm"
)

// A trust decides on an endpoint's certificate. Hosts come with certificates
// that they signed themselves, so a certificate passes in one of three ways: it
// is the one that is pinned; no one is pinned and an authority that this
// machine trusts has signed it; no one is pinned and it is the first. From
// then on that one alone passes.
type trust struct {
	e     vm.Endpoint
	first bool // a first certificate may be pinned
	roots *x509.CertPool

	mu    sync.Mutex
	pin   string // guarded by mu
	sha1  string // guarded by mu
	fresh bool   // guarded by mu: pin is new and is to be kept
}

func (t *trust) config() *tls.Config {
	t.pin = t.e.Pin
	return &tls.Config{
		ServerName:         t.e.Host,
		InsecureSkipVerify: true, // VerifyConnection does it, with pins
		VerifyConnection:   t.verify,
	}
}

func (t *trust) verify(s tls.ConnectionState) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	cert := s.PeerCertificates[0]
	fp := fingerprint(cert.Raw)
	switch {
	case t.e.NoVerify:
	case t.pin != "" && !strings.EqualFold(t.pin, fp):
		return mismatch(t.e, t.pin, fp)
	case t.pin == "" && verified(s, t.e.Host, t.roots) == nil:
	case t.pin == "" && !t.first:
		return vm.Errorf(vm.ErrUntrusted, "%s: certificate %s is not trusted; if it is the right one: %s", t.e, fp, trustCommand(t.e, fp))
	case t.pin == "":
		t.fresh = true
	}
	t.pin = fp
	sum := sha1.Sum(cert.Raw)
	t.sha1 = colons(sum[:])
	return nil
}

// verified checks a certificate against the authorities of this machine.
func verified(s tls.ConnectionState, host string, roots *x509.CertPool) error {
	opts := x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

func mismatch(e vm.Endpoint, want, got string) error {
	return vm.Errorf(vm.ErrUntrusted, "%s: certificate has changed: %s was trusted, %s is shown. If the host was installed anew: %s; else someone may be in between", e, want, got, trustCommand(e, got))
}

// trustCommand is what makes a certificate the one that is trusted.
func trustCommand(e vm.Endpoint, fp string) string {
	if e.Kind == vm.VPX {
		return "mkhypervisor HOST --vcenter --trust " + fp + ", HOST being any host of it"
	}
	return "mkhypervisor " + e.Name + " --trust " + fp
}

// seen is the certificate in use, and whether it is new to us.
func (t *trust) seen() (sha256 string, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pin, t.fresh && !t.e.NoVerify
}

// thumbprint is the certificate's SHA-1, by which vCenter knows it.
func (t *trust) thumbprint() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sha1
}

// explain unwraps our own sentence from what the transport makes of it.
func (t *trust) explain(err error) error {
	if errors.Is(err, vm.ErrUntrusted) {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if errors.Unwrap(e) == vm.ErrUntrusted {
				return e
			}
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w", wrap(err))
}

// fingerprint is a certificate's SHA-256 as it is written: AA:BB:...
func fingerprint(raw []byte) string {
	sum := sha256.Sum256(raw)
	return colons(sum[:])
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}
