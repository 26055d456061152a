package guest

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"margay/provision/provisiontest"
)

// netbootFiles is where Debian's package has the installer for network boot.
const netbootFiles = "/usr/lib/debian-installer/images/12/amd64/text"

// TestDebianInstaller boots Debian's own installer, under BIOS and UEFI, which
// fetches its preseed file, runs its early command, and asks our mirror for
// packages.
func TestDebianInstaller(t *testing.T) {
	if _, err := os.Stat(netbootFiles); err != nil {
		missing(t, "debian-installer-12-netboot-amd64")
	}
	w := newWorld(t)
	t.Log(w.run(t, "copycds", debianMedium(t)))
	t.Run("bios", func(t *testing.T) {
		installDebian(t, w, machine{name: "deb1", mac: "52:54:00:78:00:03", addr: "10.78.0.13", memory: "1024"})
	})
	t.Run("uefi", func(t *testing.T) {
		installDebian(t, w, machine{name: "deb2", mac: "52:54:00:78:00:0b", addr: "10.78.0.21", memory: "1024", uefi: true})
	})
}

// installDebian follows a machine until its installer asks for packages.
func installDebian(t *testing.T, w *world, m machine) {
	asked := w.watchMirror(t)
	w.run(t, "chdef", "-t", "osimage", "debian12-x86_64-install-compute", "pkgdir="+asked.url)
	w.define(t, m)
	if got, want := w.run(t, "nodeset", m.name, "osimage=debian12-x86_64-install-compute"), m.name+": install debian12-x86_64-compute\n"; got != want {
		t.Fatalf("nodeset: got %q, want %q", got, want)
	}
	serial := w.start(t, m)
	serial.await(t, 5*time.Minute, `Linux version 6\.`)
	w.expect(t, 15*time.Minute, m.name, "status=installing", "currstate=install debian12-x86_64-compute")
	w.steps(t, m.name, "dhcp", "script", "modules", "kickstart", "installing")
	asked.await(t, 10*time.Minute, "/install/debian12/x86_64/dists/bookworm/Release")
}

// debianMedium is the package's files as a medium, with the beginning of a mirror.
func debianMedium(t *testing.T) string {
	t.Helper()
	files := []provisiontest.MediaFile{
		diskFile(t, filepath.Join(netbootFiles, "version.info"), "version.info"),
		diskFile(t, filepath.Join(netbootFiles, "debian-installer/amd64/linux"), "debian-installer/amd64/linux"),
		diskFile(t, filepath.Join(netbootFiles, "debian-installer/amd64/initrd.gz"), "debian-installer/amd64/initrd.gz"),
		provisiontest.TextFile("dists/bookworm/Release", "Origin: Debian\nSuite: stable\nVersion: 12.5\nCodename: bookworm\nArchitectures: amd64\nComponents: main\n"),
	}
	iso := filepath.Join(t.TempDir(), "debian-12-netboot.iso")
	if err := provisiontest.WriteISO(iso, provisiontest.ISO{Volume: "DEBIAN", Names: provisiontest.NamesRockRidge, Files: files}); err != nil {
		t.Fatal(err)
	}
	return iso
}

// A watched mirror passes requests on to the daemon and tells which of them it
// answered with a file.
type watched struct {
	url  string
	good chan string
}

// watchMirror starts one at an address that machines reach.
func (w *world) watchMirror(t *testing.T) *watched {
	t.Helper()
	asked := &watched{good: make(chan string, 1000)}
	var l net.Listener
	var err error
	w.server.Do(func() { l, err = net.Listen("tcp4", serverAddr+":0") })
	if err != nil {
		t.Fatal(err)
	}
	asked.url = "http://" + l.Addr().String() + "/install/debian12/x86_64"
	inside := &http.Transport{DialContext: func(_ context.Context, network, addr string) (c net.Conn, err error) {
		w.server.Do(func() { c, err = net.Dial(network, addr) })
		return c, err
	}}
	proxy := &http.Server{Handler: &httputil.ReverseProxy{
		Transport: inside,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: serverAddr}) },
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode == http.StatusOK {
				asked.good <- r.Request.URL.Path
			}
			return nil
		},
	}}
	go proxy.Serve(l)
	t.Cleanup(func() { proxy.Close() })
	return asked
}

func (a *watched) await(t *testing.T, limit time.Duration, path string) {
	t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case got := <-a.good:
			if got == path {
				return
			}
		case <-timeout:
			t.Fatalf("the mirror was not asked for %s in %v", path, limit)
		}
	}
}
