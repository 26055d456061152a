package cert

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// Names are how the server is reached.
type Names struct {
	Hosts []string
	Addrs []netip.Addr
}

// covers says whether a certificate is good for all of n.
func (n Names) covers(c *x509.Certificate) bool {
	for _, h := range n.Hosts {
		if c.VerifyHostname(h) != nil {
			return false
		}
	}
	for _, a := range n.Addrs {
		if c.VerifyHostname(a.Unmap().String()) != nil {
			return false
		}
	}
	return true
}

// A Server hands out the certificate of the moment: the operator's own where
// there is one, otherwise one of the authority's, renewed before it ends and
// when the server is reached by an address that it does not have.
type Server struct {
	authority *Authority
	names     func() Names
	log       *slog.Logger

	mu      sync.Mutex // guards the rest
	current *tls.Certificate
	own     bool
	looked  time.Time // when files and names were last looked at
	stamp   string    // of the operator's files
}

// lookEvery is how often names and the operator's files are looked at.
const lookEvery = time.Minute

// NewServer returns a Server with a certificate for what names returns. An
// operator's certificate that cannot be used is an error now; later ones leave
// the certificate as it was. Log may be nil.
func NewServer(a *Authority, names func() Names, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{authority: a, names: names, log: log}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s, s.look(netip.Addr{})
}

// Run looks after the certificate until ctx is done, so that it is renewed also
// while nobody asks.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if _, err := s.certificate(netip.Addr{}); err != nil {
				s.log.Error("certificates: not renewed", "err", err)
			}
		}
	}
}

// Config is for a TLS listener.
func (s *Server) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		// Go's own list, then what firmware without elliptic curves has.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
		},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate(localOf(hello.Conn))
		},
	}
}

func localOf(c net.Conn) netip.Addr {
	if c == nil {
		return netip.Addr{}
	}
	if tcp, ok := c.LocalAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// certificate is the one of the moment, for a client that reached us at local.
func (s *Server) certificate(local netip.Addr) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	strange := local.IsValid() && !s.own && !Names{Addrs: []netip.Addr{local}}.covers(s.current.Leaf)
	if now := s.authority.now(); strange || now.Sub(s.looked) >= lookEvery || now.Before(s.looked) {
		if err := s.look(local); err != nil {
			s.log.Error("certificates: the old one stays", "err", err)
		}
	}
	return s.current, nil
}

// look brings the certificate up to date. The caller holds s.mu.
func (s *Server) look(local netip.Addr) error {
	s.looked = s.authority.now()
	own, err := s.lookOwn()
	if own || err != nil {
		return err
	}
	want := s.names()
	want.Hosts = slices.DeleteFunc(slices.Clone(want.Hosts), func(h string) bool { return !isHost(h) })
	want.Addrs = slices.Clone(want.Addrs)
	if local.IsValid() {
		want.Addrs = append(want.Addrs, local)
	}
	if s.current == nil {
		s.current = s.authority.saved()
	}
	if s.current != nil && s.good(want) {
		return nil
	}
	c, err := s.authority.issue(want)
	if err != nil {
		return err
	}
	s.log.Info("certificates: a new one", "hosts", want.Hosts, "addrs", want.Addrs, "until", c.Leaf.NotAfter.Format(time.DateOnly))
	s.current = c
	return nil
}

// isHost says whether a certificate can hold a name.
func isHost(h string) bool {
	probe := &x509.Certificate{DNSNames: []string{h}}
	return probe.VerifyHostname(h) == nil
}

// good says whether the current certificate can stay.
func (s *Server) good(want Names) bool {
	now, leaf := s.authority.now(), s.current.Leaf
	return leaf.CheckSignatureFrom(s.authority.ca) == nil && want.covers(leaf) &&
		now.After(leaf.NotBefore) && leaf.NotAfter.Sub(now) > spare
}

// lookOwn takes the operator's certificate if there is one and it has changed.
func (s *Server) lookOwn() (own bool, err error) {
	stamp := s.authority.stamp(ownFile) + s.authority.stamp(ownKeyFile)
	if stamp == "" {
		if s.own {
			s.own, s.current = false, nil
		}
		s.stamp = ""
		return false, nil
	}
	if stamp == s.stamp && s.own {
		return true, nil
	}
	c, err := tls.LoadX509KeyPair(s.authority.path(ownFile), s.authority.path(ownKeyFile))
	if err != nil {
		return false, fmt.Errorf("certificates: %s and %s: %v; put both right, or remove both for one of margay's own", s.authority.path(ownFile), s.authority.path(ownKeyFile), err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return false, err
		}
	}
	s.current, s.own, s.stamp = &c, true, stamp
	s.log.Info("certificates: the operator's own", "subject", c.Leaf.Subject, "until", c.Leaf.NotAfter.Format(time.DateOnly))
	return true, nil
}

// stamp is how a file was last seen; "" if it is not there.
func (a *Authority) stamp(name string) string {
	fi, err := os.Stat(a.path(name))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d\n", name, fi.Size(), fi.ModTime().UnixNano())
}

// saved is the certificate of an earlier run, nil if there is none that can be
// read: then a new one is made.
func (a *Authority) saved() *tls.Certificate {
	text, err := os.ReadFile(a.path(serverFile))
	if err != nil {
		return nil
	}
	c, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil
	}
	if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
		return nil
	}
	return &c
}

// issue makes a certificate with a key of its own for the server, and keeps
// both.
func (a *Authority) issue(n Names) (*tls.Certificate, error) {
	crt, key, err := a.Issue(n, serverLife)
	if err != nil {
		return nil, err
	}
	both := bytes.Join([][]byte{crt, certPEM(a.ca.Raw), key}, nil)
	if err := write(a.path(serverFile), both, 0o600); err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(both, both)
	if err == nil && c.Leaf == nil {
		c.Leaf, err = x509.ParseCertificate(c.Certificate[0])
	}
	return &c, err
}

// Issue makes a certificate for names, and its key, in PEM. It keeps neither.
func (a *Authority) Issue(n Names, life time.Duration) (crt, key []byte, err error) {
	private, err := rsa.GenerateKey(rand.Reader, serverBits)
	if err != nil {
		return nil, nil, err
	}
	now := a.now()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "margay", Organization: []string{"margay"}},
		NotBefore: now.Add(-slack), NotAfter: now.Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    compact(n.Hosts),
	}
	if len(n.Hosts) > 0 {
		t.Subject.CommonName = n.Hosts[0]
	}
	for _, addr := range slices.Compact(slices.SortedFunc(slices.Values(n.Addrs), netip.Addr.Compare)) {
		t.IPAddresses = append(t.IPAddresses, addr.Unmap().AsSlice())
	}
	if a.ca.NotAfter.Before(t.NotAfter) {
		t.NotAfter = a.ca.NotAfter
	}
	der, err := create(t, a.ca, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(private)
	return certPEM(der), key, err
}

func compact(hosts []string) []string {
	hosts = slices.Clone(hosts)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// A Status is what a Server hands out.
type Status struct {
	Own   bool // the operator's
	Names []string
	Until time.Time
	Fault error // names that it is not good for, or why it cannot be read
}

// Status returns what s hands out now.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.look(netip.Addr{})
	leaf := s.current.Leaf
	st := Status{Own: s.own, Names: slices.Clone(leaf.DNSNames), Until: leaf.NotAfter, Fault: err}
	for _, ip := range leaf.IPAddresses {
		st.Names = append(st.Names, ip.String())
	}
	if err != nil {
		return st
	}
	for _, a := range s.names().Addrs {
		if (Names{Addrs: []netip.Addr{a}}).covers(leaf) || a.IsLoopback() {
			continue
		}
		st.Fault = errors.Join(st.Fault, fmt.Errorf("it is not for %s", a))
	}
	return st
}

// SignatureList is the authority's certificate as the list that OVMF takes by
// fw_cfg (etc/edk2/https/cacerts): one EFI_SIGNATURE_LIST of EFI_CERT_X509_GUID
// (UEFI 2.10, 32.4.1).
func (a *Authority) SignatureList() []byte {
	x509GUID := []byte{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
	owner := []byte("margay          ")
	le := func(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }
	size := len(owner) + len(a.ca.Raw)
	return bytes.Join([][]byte{x509GUID, le(28 + size), le(0), le(size), owner, a.ca.Raw}, nil)
}
