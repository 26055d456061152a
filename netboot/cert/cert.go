// Package cert makes the certificates that machines check when they boot by
// HTTPS: an authority of the server's own, which firmware is told to trust
// once, and short-lived certificates for the names and addresses by which it is
// reached. It makes them at the first start and renews them by itself; an
// operator's own certificate takes their place where there is one.
//
// The keys are RSA, and the older suites are allowed: TLS in firmware (edk2)
// may have no elliptic curves, and takes no other.
package cert

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files of the directory. Only caFile may be read by others than the owner.
const (
	caFile     = "ca.pem"
	caKeyFile  = "ca.key"
	serverFile = "server.pem" // certificate and key in one, so that they always fit
	ownFile    = "own.pem"    // the operator's own
	ownKeyFile = "own.key"
)

// How long certificates hold, and when they are renewed. Firmware is told of
// the authority by hand, so it outlives the hardware.
const (
	caLife     = 30 * 365 * 24 * time.Hour
	caSpare    = 2 * 365 * 24 * time.Hour
	serverLife = 397 * 24 * time.Hour
	spare      = serverLife / 3
	// slack is how far back certificates hold: machines' clocks are often behind.
	slack = 48 * time.Hour
)

const (
	caBits     = 3072
	serverBits = 2048
)

// An Authority signs the server's certificates.
type Authority struct {
	dir string
	now func() time.Time
	ca  *x509.Certificate
	key crypto.Signer
}

// Open reads the authority that dir holds, or makes one: a directory for the
// owner alone, and a key for the owner alone. Now is the clock; nil: time.Now.
func Open(dir string, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificates: %v", err)
	}
	a := &Authority{dir: dir, now: now}
	err := a.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.create()
	}
	if err != nil {
		return nil, err
	}
	if a.ca.NotAfter.Sub(now()) < caSpare {
		return a, a.sign() // with the same key: what firmware trusts goes on for its time
	}
	return a, nil
}

// load reads key and certificate. A key without its certificate, which a crash
// may leave, is given a new one.
func (a *Authority) load() error {
	text, err := os.ReadFile(a.path(caKeyFile))
	if err != nil {
		return err
	}
	if a.key, err = parseKey(text); err != nil {
		return a.fault(caKeyFile, err)
	}
	text, err = os.ReadFile(a.path(caFile))
	if errors.Is(err, fs.ErrNotExist) {
		return a.sign()
	}
	if err == nil {
		a.ca, err = parseCert(text)
	}
	switch {
	case err != nil:
		return a.fault(caFile, err)
	case !samePublic(a.ca.PublicKey, a.key):
		return a.fault(caFile, errors.New("it is not of the key in "+caKeyFile))
	case !a.ca.IsCA:
		return a.fault(caFile, errors.New("it is no authority's certificate"))
	}
	return os.Chmod(a.path(caKeyFile), 0o600)
}

func (a *Authority) fault(name string, err error) error {
	return fmt.Errorf("certificates: %s: %v; put the right file back, or remove %s and %s to have new ones, which firmware must then be told of", a.path(name), err, caFile, caKeyFile)
}

func (a *Authority) create() error {
	key, err := rsa.GenerateKey(rand.Reader, caBits)
	if err != nil {
		return err
	}
	a.key = key
	text, err := keyPEM(key)
	if err != nil {
		return err
	}
	if err := write(a.path(caKeyFile), text, 0o600); err != nil {
		return err
	}
	return a.sign()
}

// sign gives the authority's key a certificate.
func (a *Authority) sign() error {
	name := pkix.Name{CommonName: "margay CA", Organization: []string{"margay"}}
	if host, err := os.Hostname(); err == nil {
		name.CommonName = "margay CA on " + host
	}
	if a.ca != nil {
		name = a.ca.Subject
	}
	now := a.now()
	t := &x509.Certificate{
		Subject: name, NotBefore: now.Add(-slack), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := create(t, t, a.key.Public(), a.key)
	if err != nil {
		return err
	}
	if a.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return write(a.path(caFile), certPEM(der), 0o644)
}

func create(t, parent *x509.Certificate, public any, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial
	t.SignatureAlgorithm = 0
	if _, ok := signer.(*rsa.PrivateKey); ok {
		t.SignatureAlgorithm = x509.SHA256WithRSA
	}
	return x509.CreateCertificate(rand.Reader, t, parent, public, signer)
}

func (a *Authority) path(name string) string { return filepath.Join(a.dir, name) }

// Certificate is the authority's own. It may not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.ca }

// PEM is the authority's certificate as tools take it.
func (a *Authority) PEM() []byte { return certPEM(a.ca.Raw) }

// Fingerprint is the SHA-256 of the authority's certificate, as browsers and
// firmware show it.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.ca.Raw)
	var b strings.Builder
	for i, c := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
	}
	return b.String()
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("no PEM certificate")
}

func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		if s, ok := key.(crypto.Signer); ok {
			return s, nil
		}
	}
	return nil, errors.New("no PEM key")
}

func samePublic(public any, key crypto.Signer) bool {
	eq, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && eq.Equal(public)
}

// write replaces a file whole: after a crash the old one or the new one is
// there.
func write(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("certificates: %v", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("certificates: %s: %v", path, err)
	}
	return nil
}
