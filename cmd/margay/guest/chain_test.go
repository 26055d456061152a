package guest

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// makeWork makes the system for work from this host's own kernel.
func (w *world) makeWork(t *testing.T) {
	t.Helper()
	if kernels, _ := filepath.Glob("/boot/vmlinuz-*"); len(kernels) == 0 {
		missing(t, "a kernel in /boot (linux-image-cloud-amd64)")
	}
	netboottest.Binary(t, "depmod")
	netboottest.Binary(t, "busybox")
	t.Log(w.run(t, "mknb", "x86_64"))
}

// serveText serves one text at an address that machines reach.
func (w *world) serveText(t *testing.T, text string) string {
	t.Helper()
	var l net.Listener
	var err error
	w.server.Do(func() { l, err = net.Listen("tcp4", serverAddr+":0") })
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.Write([]byte(text)) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String()
}

// TestChain has a machine work: it runs a postscript and a program from an
// address, stands at one that fails until it is told to go on, shows a shell,
// installs itself, and boots from its disk.
func TestChain(t *testing.T) {
	w := newWorld(t)
	w.makeWork(t)
	t.Log(w.run(t, "copycds", w.makeInstaller(t)))
	w.write(t, 0o755, postscript, "state", "install", "postscripts", "hello")
	w.write(t, 0o755, "#!/bin/sh\necho this disk is broken\nexit 3\n", "state", "install", "postscripts", "bad")
	fetched := w.serveText(t, "#!/bin/sh\necho FETCHED $* $NODE >/dev/console\n")
	m := machine{name: "vm3", mac: "52:54:00:78:00:05", addr: "10.78.0.15", memory: "512", disk: emptyDisk(t)}
	w.define(t, m)
	chain := "runcmd=hello one,runcmd=" + fetched + " two,runcmd=bad,shell,osimage=debian12-x86_64-install-compute"
	if got, want := w.run(t, "nodeset", m.name, chain), m.name+": runcmd=hello one\n"; got != want {
		t.Fatalf("nodeset: got %q, want %q", got, want)
	}
	serial := w.start(t, m)
	serial.await(t, 10*time.Minute, `margay: the system for work, kernel 6\.`)
	serial.await(t, 10*time.Minute, `POSTSCRIPT .*/hello one of vm3 with  from 10\.78\.0\.1 as root`)
	serial.await(t, 3*time.Minute, `FETCHED two vm3`)
	w.expect(t, 3*time.Minute, m.name, "status=failed", "currstate=runcmd=bad")
	w.steps(t, m.name, "dhcp", "script", "working: runcmd=hello one", "report: exit status 0", "done: runcmd=hello one; next: runcmd=http", "working", "done",
		"working", "report: exit status 3: this disk is broken", "failed: runcmd=bad: exit status 3: this disk is broken")
	if got, want := w.run(t, "nodeset", m.name, "next"), m.name+": shell\n"; got != want {
		t.Fatalf("nodeset next: got %q, want %q", got, want)
	}
	serial.await(t, 3*time.Minute, `margay: a shell`)
	w.expect(t, 3*time.Minute, m.name, "status=shell", "currstate=shell")
	serial.typed(t, "echo SUM-$((6*7)) of $(hostname)")
	serial.await(t, 3*time.Minute, `^SUM-42 of`)
	serial.typed(t, "next")
	w.expect(t, 3*time.Minute, m.name, "currstate=install debian12-x86_64-compute", "currchain=boot")
	installs(t, w, m, serial)
	bootsFromDisk(t, w, m, serial)
	w.steps(t, m.name, "localboot", "booted")
}

// TestMemtest boots Debian's memtest86+, under BIOS and UEFI.
func TestMemtest(t *testing.T) {
	if found, _ := filepath.Glob("/boot/memtest86+x64.*"); len(found) < 2 {
		missing(t, "memtest86+")
	}
	w := newWorld(t)
	t.Log(w.run(t, "mknb", "x86_64", "--memtest"))
	for _, m := range []machine{
		{name: "mt1", mac: "52:54:00:78:00:06", addr: "10.78.0.16", memory: "256"},
		{name: "mt2", mac: "52:54:00:78:00:07", addr: "10.78.0.17", memory: "256", uefi: true, screen: true},
	} {
		w.define(t, m)
		if got, want := w.run(t, "nodeset", m.name, "memtest"), m.name+": memtest\n"; got != want {
			t.Fatalf("nodeset: got %q, want %q", got, want)
		}
		t.Run(m.name, func(t *testing.T) {
			serial := w.start(t, m)
			serial.await(t, 10*time.Minute, `Memtest86\+`)
			w.steps(t, m.name, "dhcp", "script", "modules")
		})
	}
}
