package main

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"margay/cmd/command"
	"margay/netboot/cert"
	"margay/provision"
)

// listenTLS takes the port of HTTPS and opens the certificates for it.
func (d *daemon) listenTLS() error {
	var err error
	if d.httpsL, err = net.Listen("tcp4", d.https); err != nil {
		return portError("HTTPS", "tcp", d.https, "--https", err)
	}
	if d.authority, err = cert.Open(filepath.Join(d.state, "tls"), nil); err != nil {
		return err
	}
	d.certs, err = cert.NewServer(d.authority, d.tlsNames, d.log)
	return err
}

// tlsNames are how machines reach us: our interfaces' addresses, the master's of
// the site, and our names.
func (d *daemon) tlsNames() (n cert.Names) {
	for _, p := range d.local() {
		n.Addrs = append(n.Addrs, p.Addr())
	}
	n.Addrs = append(n.Addrs, netip.MustParseAddr("127.0.0.1"))
	snap := d.db.Snapshot()
	if master := snap.Site("master"); master != "" {
		if a, err := netip.ParseAddr(master); err == nil {
			n.Addrs = append(n.Addrs, a)
		} else {
			n.Hosts = append(n.Hosts, strings.ToLower(master))
		}
	}
	if host, err := os.Hostname(); err == nil {
		host = strings.ToLower(host)
		n.Hosts = append(n.Hosts, host)
		if domain := snap.Site("domain"); domain != "" && !strings.Contains(host, ".") {
			n.Hosts = append(n.Hosts, host+"."+strings.ToLower(domain))
		}
	}
	return n
}

// certificate is what margay doctor asks of HTTPS.
func (d *daemon) certificate() command.Certificate {
	st := d.certs.Status()
	return command.Certificate{Own: st.Own, Names: st.Names, Until: st.Until, Fault: st.Fault}
}

// authorityPages offer the authority's certificate, in the forms that those who
// are to trust it take: tools and hosts, firmware's set-up, and qemu's OVMF.
func (d *daemon) authorityPages(mux *http.ServeMux) {
	for _, f := range []struct {
		name, mime string
		data       func() []byte
	}{
		{"ca.pem", "application/x-pem-file", d.authority.PEM},
		{"ca.crt", "application/pkix-cert", func() []byte { return d.authority.Certificate().Raw }},
		{"ca.esl", "application/octet-stream", d.authority.SignatureList},
	} {
		mux.HandleFunc("GET /tls/"+f.name, func(w http.ResponseWriter, _ *http.Request) {
			data := f.data()
			w.Header().Set("Content-Type", f.mime)
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data)
		})
	}
}

// hostLife is how long certificates of hosts hold: they are not renewed but by
// a new install, or the next boot of a host without a disk.
const hostLife = 5 * 365 * 24 * time.Hour

// issue makes a host's certificate by our authority, which is made if there is
// none yet.
func (d *daemon) issue(n provision.HostNames) (crt, key []byte, err error) {
	a := d.authority
	if a == nil {
		if a, err = cert.Open(filepath.Join(d.state, "tls"), nil); err != nil {
			return nil, nil, err
		}
	}
	return a.Issue(cert.Names{Hosts: n.Hosts, Addrs: n.Addrs}, hostLife)
}
