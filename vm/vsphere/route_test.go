package vsphere_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/esxsh"
	"margay/vm/vmtest"
	"margay/vm/vmx"
	"margay/vm/vsphere"
)

// Every kind of proxy that an address may name is gone through, for the API
// and for the shell; a name goes to those that resolve names.
func TestProxies(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	sh := w.ServeSSH(t, "")
	_, sshPort, _ := net.SplitHostPort(sh.Addr)
	for scheme, asked := range map[string][2]string{
		"http": {"http", "localhost"}, "socks": {"socks5", "localhost"}, "socks5": {"socks5", "localhost"},
		"socks4": {"socks4", "127.0.0.1"}, "socks4a": {"socks4a", "localhost"},
	} {
		p := vmtest.NewProxy(t)
		uri := strings.Replace(w.URI(), "127.0.0.1", "localhost", 1) + "?no_verify=1&ssh_port=" + sshPort + "&proxy=" + url.QueryEscape(scheme+"://"+p.Addr)
		e, err := vm.ParseURI(uri)
		if err != nil {
			t.Fatal(err)
		}
		e.Name, e.User, e.Password = "esx1", w.User, w.Password
		hv, err := vsphere.Dialer{}.Dial(t.Context(), e)
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		if names, err := hv.Hosts(t.Context()); err != nil || len(names) != 1 {
			t.Errorf("%s: hosts %v, %v", scheme, names, err)
		}
		hv.Close()
		if got, want := p.Got(), asked[0]+" "+net.JoinHostPort(asked[1], w.Port()); len(got) == 0 || got[0] != want {
			t.Errorf("%s: the proxy was asked for %v, want %s", scheme, got, want)
		}
		shell, err := esxsh.Dialer{Codec: vmx.Codec{}, Connect: vsphere.Connect}.Dial(t.Context(), e)
		if err != nil {
			t.Errorf("%s: ssh: %v", scheme, err)
			continue
		}
		shell.Close()
		if got, want := p.Got(), asked[0]+" "+net.JoinHostPort(asked[1], sshPort); got[len(got)-1] != want {
			t.Errorf("%s: ssh: the proxy was asked for %v, want %s", scheme, got, want)
		}
		if _, err := (esxsh.Dialer{Codec: vmx.Codec{}}).Dial(t.Context(), e); err == nil {
			t.Errorf("%s: ssh goes past the proxy where it cannot go through it", scheme)
		}
	}
	// A proxy that does not answer is named; nothing goes past it.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	for _, scheme := range []string{"http", "socks5", "socks4"} {
		e, err := vm.ParseURI(w.URI() + "?no_verify=1&proxy=" + url.QueryEscape(scheme+"://"+dead))
		if err != nil {
			t.Fatal(err)
		}
		e.User, e.Password = w.User, w.Password
		if _, err := (vsphere.Dialer{}).Dial(t.Context(), e); err == nil || !strings.Contains(err.Error(), dead) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// A certificate that an authority vouches for needs no pin, and one that none
// vouches for is refused where nothing may be pinned.
func TestAuthority(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	e := endpoint(t, w)
	roots := x509.NewCertPool()
	roots.AddCert(w.Certificate())
	hv, err := vsphere.Dialer{Roots: roots, Trust: func(context.Context, vm.Endpoint, string) error {
		t.Error("a certificate that is vouched for was pinned")
		return nil
	}}.Dial(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	hv.Close()
	e.Host = "localhost" // which the certificate does not name
	if _, err = (vsphere.Dialer{Roots: roots}).Dial(t.Context(), e); !errors.Is(err, vm.ErrUntrusted) {
		t.Errorf("by a name that the certificate has not: %v", err)
	}
	e.Kind = vm.VPX
	if _, err = (vsphere.Dialer{Roots: x509.NewCertPool()}).Dial(t.Context(), e); err == nil || !strings.Contains(err.Error(), "mkhypervisor HOST --vcenter --trust "+w.Fingerprint) {
		t.Errorf("a vCenter that is not trusted: %v", err)
	}
}

// One connection serves a host, whatever it goes by in the table.
func TestOneConnection(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w, nodedbtest.Node("again", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+w.URI()))
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=again", "vm.storage=vmfs://datastore1"))
	w.ResetCalls()
	c.Power(t, vm.WordStat, false, "vm1", "vm2", "vm3")
	c.List(t, "esx1", "again")
	if n := w.Count("Login"); n != 1 {
		t.Errorf("%d logins", n)
	}
}
