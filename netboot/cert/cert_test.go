package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A clock is set by the test.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t *testing.T, dir string, c *clock) *Authority {
	t.Helper()
	a, err := Open(dir, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func here(addrs ...string) func() Names {
	return func() (n Names) {
		n.Hosts = []string{"boot.cluster.test", "no_host name"}
		for _, a := range addrs {
			n.Addrs = append(n.Addrs, netip.MustParseAddr(a))
		}
		return n
	}
}

func serverOf(t *testing.T, a *Authority, names func() Names) *Server {
	t.Helper()
	s, err := NewServer(a, names, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verify checks a certificate as firmware does: for a host, at a time, with
// one authority that it trusts.
func verify(t *testing.T, s *Server, ca *x509.Certificate, host string, at time.Time) *x509.Certificate {
	t.Helper()
	c, err := s.certificate(netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at}); err != nil {
		t.Errorf("%s at %s: %v", host, at.Format(time.DateOnly), err)
	}
	return c.Leaf
}

func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	c := &clock{time.Now()}
	a := open(t, dir, c)
	s := serverOf(t, a, here("10.1.0.1", "10.2.0.1"))
	for _, host := range []string{"10.1.0.1", "10.2.0.1", "boot.cluster.test"} {
		verify(t, s, a.Certificate(), host, c.at)
		verify(t, s, a.Certificate(), host, c.at.Add(-24*time.Hour)) // a machine whose clock is behind
	}
	for name, want := range map[string]os.FileMode{"": 0o700, caFile: 0o644, caKeyFile: 0o600, serverFile: 0o600} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want mode %o", name, fi.Mode(), err, want)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("%d files, want 3", len(entries))
	}

	again := open(t, dir, c)
	if again.Fingerprint() != a.Fingerprint() {
		t.Error("a restart made another authority")
	}
	before := verify(t, s, a.Certificate(), "10.1.0.1", c.at)
	if after := verify(t, serverOf(t, again, here("10.1.0.1")), a.Certificate(), "10.1.0.1", c.at); after.SerialNumber.Cmp(before.SerialNumber) != 0 {
		t.Error("a restart made another certificate")
	}
}

// The certificate is renewed before it ends, by the same authority, which is
// itself renewed with the same key.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	c := &clock{time.Now()}
	a := open(t, dir, c)
	ca := a.Certificate()
	s := serverOf(t, a, here("10.1.0.1"))
	serial := verify(t, s, ca, "10.1.0.1", c.at).SerialNumber
	renewed := 0
	for range 5 * 52 {
		c.at = c.at.Add(7 * 24 * time.Hour)
		leaf := verify(t, s, ca, "10.1.0.1", c.at)
		if leaf.SerialNumber.Cmp(serial) != 0 {
			renewed++
			serial = leaf.SerialNumber
		}
		if left := leaf.NotAfter.Sub(c.at); left < spare-8*24*time.Hour {
			t.Fatalf("only %v are left", left)
		}
	}
	if renewed < 5 || renewed > 8 {
		t.Errorf("renewed %d times in 5 years", renewed)
	}

	c.at = ca.NotAfter.Add(-caSpare / 2)
	old := a.Certificate()
	a = open(t, dir, c)
	if a.Certificate().Equal(old) || !samePublic(old.PublicKey, a.key) {
		t.Error("the authority was not renewed")
	}
	s = serverOf(t, a, here("10.1.0.1"))
	verify(t, s, a.Certificate(), "10.1.0.1", c.at)
	verify(t, s, old, "10.1.0.1", c.at) // firmware that trusts the old one still does
}

func TestAddressesChange(t *testing.T) {
	c := &clock{time.Now()}
	a := open(t, t.TempDir(), c)
	addrs := []string{"10.1.0.1"}
	s := serverOf(t, a, func() Names { return here(addrs...)() })
	first := verify(t, s, a.Certificate(), "10.1.0.1", c.at)

	addrs = append(addrs, "10.9.0.1")
	c.at = c.at.Add(2 * lookEvery)
	if leaf := verify(t, s, a.Certificate(), "10.9.0.1", c.at); leaf.Equal(first) {
		t.Error("a new address changed nothing")
	}
	if leaf, err := s.certificate(netip.MustParseAddr("10.8.0.1")); err != nil || leaf.Leaf.VerifyHostname("10.8.0.1") != nil {
		t.Errorf("reached at an address that the certificate lacks: %v", leaf.Leaf.IPAddresses)
	}
}

func TestDamage(t *testing.T) {
	c := &clock{time.Now()}
	tests := []struct {
		name, file, text string
		want             string // "": mends itself
	}{
		{"no authority's certificate", caFile, "", ""},
		{"server's damaged", serverFile, "rubbish", ""},
		{"authority's key damaged", caKeyFile, "rubbish", "ca.key: no PEM key; put the right file back"},
		{"authority's certificate damaged", caFile, "rubbish", "ca.pem: no PEM certificate; put the right file back"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			serverOf(t, open(t, dir, c), here("10.1.0.1"))
			path := filepath.Join(dir, tt.file)
			os.Remove(path)
			if tt.text != "" {
				os.WriteFile(path, []byte(tt.text), 0o600)
			}
			a, err := Open(dir, c.now)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			verify(t, serverOf(t, a, here("10.1.0.1")), a.Certificate(), "10.1.0.1", c.at)
		})
	}
}

// The operator's own certificate goes before; a bad one is refused at the start
// and changes nothing later.
func TestOwnCertificate(t *testing.T) {
	c := &clock{time.Now()}
	theirs := t.TempDir()
	other := open(t, theirs, c)
	serverOf(t, other, here("10.1.0.1"))
	pair, _ := os.ReadFile(filepath.Join(theirs, serverFile))

	dir := t.TempDir()
	a := open(t, dir, c)
	put := func(cert, key string) {
		t.Helper()
		for name, text := range map[string]string{ownFile: cert, ownKeyFile: key} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c.at = c.at.Add(2 * lookEvery)
	}
	put(string(pair), "rubbish")
	if _, err := NewServer(a, here("10.1.0.1"), nil); err == nil || !strings.Contains(err.Error(), "remove both for one of margay's own") {
		t.Fatalf("error %v, want the way out", err)
	}
	put(string(pair), string(pair))
	s := serverOf(t, a, here("10.1.0.1", "10.5.0.1"))
	verify(t, s, other.Certificate(), "10.1.0.1", c.at)
	if st := s.Status(); !st.Own || st.Fault == nil || !strings.Contains(st.Fault.Error(), "10.5.0.1") {
		t.Errorf("status %+v, want the operator's, which lacks 10.5.0.1", st)
	}
	put("rubbish", "rubbish")
	verify(t, s, other.Certificate(), "10.1.0.1", c.at)
	os.Remove(filepath.Join(dir, ownFile))
	os.Remove(filepath.Join(dir, ownKeyFile))
	c.at = c.at.Add(2 * lookEvery)
	verify(t, s, a.Certificate(), "10.5.0.1", c.at)
}

// curl and openssl believe in it, with the authority's certificate and not
// without.
func TestRealClients(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, &clock{time.Now()})
	s := serverOf(t, a, here("127.0.0.1"))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })}
	done.Go(func() { srv.Serve(tls.NewListener(l, s.Config())) })
	defer done.Wait()
	defer srv.Close()

	url := "https://" + l.Addr().String() + "/"
	ca := filepath.Join(dir, caFile)
	tests := []struct {
		name string
		argv []string
		want string // of what it prints; "": it fails
	}{
		{"curl", []string{"curl", "-sS", "--cacert", ca, url}, "hello"},
		{"curl, TLS 1.2 without elliptic curves", []string{"curl", "-sS", "--tls-max", "1.2", "--ciphers", "AES128-SHA", "--cacert", ca, url}, "hello"},
		{"curl without the authority", []string{"curl", "-sS", url}, ""},
		{"wget", []string{"wget", "-qO-", "--ca-certificate=" + ca, url}, "hello"},
		{"openssl", []string{"openssl", "verify", "-CAfile", ca, "-verify_ip", "127.0.0.1", "-x509_strict", filepath.Join(dir, serverFile)}, ": OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.argv[0]); err != nil {
				if os.Getenv("MARGAY_TEST_REAL") != "" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, tt.argv[0], tt.argv[1:]...).CombinedOutput()
			if (err == nil) != (tt.want != "") || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v: %v\n%s", tt.argv, err, out)
			}
		})
	}
}

// The list that OVMF reads is of the length that it says, and holds the
// certificate.
func TestSignatureList(t *testing.T) {
	a := open(t, t.TempDir(), &clock{time.Now()})
	list := a.SignatureList()
	size := int(list[16]) | int(list[17])<<8 | int(list[18])<<16
	if size != len(list) {
		t.Errorf("it says %d bytes and has %d", size, len(list))
	}
	if c, err := x509.ParseCertificate(list[44:]); err != nil || !c.Equal(a.Certificate()) {
		t.Errorf("the certificate in it: %v", err)
	}
}

// TestNamesStay: who asks for a certificate keeps its lists as they were.
func TestNamesStay(t *testing.T) {
	a, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := Names{Hosts: []string{"b.test", "a.test", "b.test"}, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")}}
	was := fmt.Sprint(n)
	if _, err := a.issue(n); err != nil {
		t.Fatal(err)
	}
	if now := fmt.Sprint(n); now != was {
		t.Errorf("%s became %s", was, now)
	}
}
