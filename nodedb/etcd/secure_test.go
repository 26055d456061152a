package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/etcd"
)

// An authority signs the certificates of one test and writes PEM files.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key = a.newKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert = a.sign("ca", template, template, a.key)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name+".pem") }

func (a *authority) sign(name string, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name: {Type: "CERTIFICATE", Bytes: der}, name + "-key": {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.path(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for a name; loopback for servers.
func (a *authority) issue(name string) {
	a.sign(name, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.newKey())
}

func openURL(t *testing.T, url string) (*etcd.Store, error) {
	t.Helper()
	return openWithin(t, url, time.Minute)
}

func openWithin(t *testing.T, url string, limit time.Duration) (*etcd.Store, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cfg, err := etcd.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := etcd.Open(ctx, cfg)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("server")
	a.issue("client")
	c := start(t, 1, "--cert-file", a.path("server"), "--key-file", a.path("server-key"), "--trusted-ca-file", a.path("ca"), "--client-cert-auth")
	host := c.members[0].client
	s, err := openURL(t, "etcds://"+host+"/tls?ca="+a.path("ca")+"&cert="+a.path("client")+"&key="+a.path("client-key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(context.Background(), []nodedb.Change{record("x", "1", 0)}); err != nil {
		t.Error(err)
	}
	for url, want := range map[string]string{
		"etcds://" + host + "/tls?cert=" + a.path("client") + "&key=" + a.path("client-key"): "unknown authority",
		"etcds://" + host + "/tls?ca=" + a.path("ca"):                                        " certificate", // "required" or "bad", by version
		"etcd://" + host + "/tls":                                                            "",             // it hangs up
	} {
		_, err := openWithin(t, url, 3*time.Second)
		if err == nil || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func TestAuth(t *testing.T) {
	c := start(t, 1)
	cl := c.client()
	ctx := context.Background()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(cl.RoleAdd(ctx, "root"))
	must(cl.UserAdd(ctx, "root", "r00t"))
	must(cl.UserGrantRole(ctx, "root", "root"))
	must(cl.RoleAdd(ctx, "margay"))
	must(cl.RoleGrantPermission(ctx, "margay", "mine/", "mine0", 2)) // read and write
	must(cl.UserAdd(ctx, "joe", "s3cret"))
	must(cl.UserGrantRole(ctx, "joe", "margay"))
	must(cl.AuthEnable(ctx))
	file := filepath.Join(t.TempDir(), "password")
	must(nil, os.WriteFile(file, []byte("s3cret\n"), 0o600))
	host := c.members[0].client
	s, err := openURL(t, "etcd://joe@"+host+"/mine?passwordfile="+file)
	if err != nil {
		t.Fatal(err)
	}
	d := db(t, s)
	if err := set(ctx, d, "x", "1"); err != nil {
		t.Error(err)
	}
	for what, url := range map[string]string{
		"wrong password":   "etcd://joe:wr0ng@" + host + "/mine",
		"no user":          "etcd://" + host + "/mine",
		"another's prefix": "etcd://joe@" + host + "/other?passwordfile=" + file,
	} {
		_, err := openWithin(t, url, 3*time.Second)
		if err == nil || !strings.Contains(err.Error(), host) || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
