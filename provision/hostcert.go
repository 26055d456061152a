package provision

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"margay/nodedb"
)

// A HostCert is a certificate that a host is to show, with its key, in PEM.
type HostCert struct{ Cert, Key []byte }

// HostNames are what a host's certificate is for.
type HostNames struct {
	Hosts []string
	Addrs []netip.Addr
}

// certSpare is how long a certificate that was made before must still hold to
// be used again.
const certSpare = 365 * 24 * time.Hour

func (s *Service) hostCertFiles(node string) (crt, key string) {
	dir := filepath.Join(s.State, "hostcerts")
	return filepath.Join(dir, node+".crt"), filepath.Join(dir, node+".key")
}

// givenCert is the certificate that the operator gave for a node.
func (s *Service) givenCert(node string) (*HostCert, error) {
	crt, key := s.hostCertFiles(node)
	c, _, err := readHostCert(crt, key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %v; put it in PEM into %s and its key into %s: %w", node, err, crt, key, nodedb.ErrInvalid)
	}
	return c, nil
}

func readHostCert(crt, key string) (*HostCert, *x509.Certificate, error) {
	var c HostCert
	var err error
	if c.Cert, err = os.ReadFile(crt); err != nil {
		return nil, nil, err
	}
	if c.Key, err = os.ReadFile(key); err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	return &c, leaf, err
}

// madeCert is a certificate of the server's authority for a node: the one that
// was made before, if it is for the same names and holds long enough. With
// real false none is made: a boot is only rehearsed.
func (s *Service) madeCert(node string, names HostNames, real bool) (*HostCert, error) {
	if s.Issue == nil {
		return nil, fmt.Errorf("esxi.certificate: this server has no authority: %w", nodedb.ErrInvalid)
	}
	if !real {
		return nil, nil
	}
	s.certs.Lock()
	defer s.certs.Unlock()
	crt, key := s.hostCertFiles(node + ".made")
	if c, leaf, err := readHostCert(crt, key); err == nil && names.covered(leaf) && leaf.NotAfter.Sub(s.Now()) > certSpare {
		return c, nil
	}
	var c HostCert
	var err error
	if c.Cert, c.Key, err = s.Issue(names); err != nil {
		return nil, err
	}
	if err := writePrivate(key, c.Key); err != nil {
		return nil, err
	}
	return &c, writePrivate(crt, c.Cert)
}

// covered says whether a certificate is for all of the names.
func (h HostNames) covered(c *x509.Certificate) bool {
	for _, host := range h.Hosts {
		if c.VerifyHostname(host) != nil {
			return false
		}
	}
	for _, a := range h.Addrs {
		if c.VerifyHostname(a.String()) != nil {
			return false
		}
	}
	return true
}
