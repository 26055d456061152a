// Package netboottest plays the outside world of a network boot: networks
// that are a test's own, and the machines on them.
package netboottest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Host is a network namespace: a machine with a loopback interface, which
// LAN.Attach plugs into networks. Files and processes it shares with us, so a
// client that would rewrite /etc/resolv.conf must be told not to.
type Host struct {
	ns netns.NsHandle
}

// OpenHost makes a host that is plugged in nowhere. It needs CAP_SYS_ADMIN;
// Close it.
func OpenHost() (*Host, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("network namespace: %v", err)
	}
	defer home.Close()
	defer goHome(home)
	ns, err := netns.New()
	if err != nil {
		return nil, fmt.Errorf("new network namespace: %v; it needs root", err)
	}
	h := &Host{ns: ns}
	if err := raise("lo"); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// NewHost is OpenHost for a test: skipped unless root, closed at its end.
func NewHost(tb testing.TB) *Host {
	tb.Helper()
	needRoot(tb)
	h, err := OpenHost()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { h.Close() })
	return h
}

// Close lets go of the namespace; the kernel ends it, and every interface in
// it, when the last process and socket inside are gone.
func (h *Host) Close() error { return h.ns.Close() }

// Do calls fn on a thread inside h. Sockets that fn opens stay in h wherever
// they are used later; goroutines that fn starts are not inside. fn may end
// the test.
func (h *Host) Do(fn func()) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		panic(fmt.Sprintf("network namespace: %v", err))
	}
	defer home.Close()
	defer goHome(home)
	if err := netns.Set(h.ns); err != nil {
		panic(fmt.Sprintf("enter network namespace: %v", err))
	}
	fn()
}

// goHome brings the thread back. A thread that cannot go home stays locked
// and ends with its goroutine, so that no other ever runs in a foreign place.
func goHome(home netns.NsHandle) {
	if netns.Set(home) == nil {
		runtime.UnlockOSThread()
	}
}

// Start starts cmd inside h.
func (h *Host) Start(cmd *exec.Cmd) (err error) {
	h.Do(func() { err = cmd.Start() })
	return err
}

// Run runs cmd inside h to its end.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// MAC is the hardware address of an interface of h; nil if there is none.
func (h *Host) MAC(ifname string) (mac net.HardwareAddr) {
	h.Do(func() {
		if l, err := netlink.LinkByName(ifname); err == nil {
			mac = l.Attrs().HardwareAddr
		}
	})
	return mac
}

// A LAN is one Ethernet segment: a bridge, br0, in a host of its own, which
// has no address unless it is given one.
type LAN struct {
	*Host
}

// OpenLAN makes an empty segment. Close it.
func OpenLAN() (*LAN, error) {
	h, err := OpenHost()
	if err != nil {
		return nil, err
	}
	h.Do(func() {
		if err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br0")}); err == nil {
			err = raise("br0")
		}
	})
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("bridge br0: %v", err)
	}
	return &LAN{Host: h}, nil
}

// NewLAN is OpenLAN for a test: skipped unless root, closed at its end.
func NewLAN(tb testing.TB) *LAN {
	tb.Helper()
	needRoot(tb)
	l, err := OpenLAN()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

// NewHost makes a host for a test whose eth0 is plugged in here, with the
// addresses ("10.1.0.1/24"); without any, eth0 is up and waits for DHCP.
func (l *LAN) NewHost(tb testing.TB, addrs ...string) *Host {
	tb.Helper()
	h := NewHost(tb)
	if err := l.Attach(h, "eth0", addrs...); err != nil {
		tb.Fatal(err)
	}
	return h
}

// Attach plugs a new interface of h into the segment, up and with addrs.
func (l *LAN) Attach(h *Host, ifname string, addrs ...string) (err error) {
	port := fmt.Sprintf("port%08x", rand.Uint32()) // of no other segment's either: cables are moved
	l.Do(func() {
		v := &netlink.Veth{LinkAttrs: attrs(port), PeerName: ifname, PeerNamespace: netlink.NsFd(int(h.ns))}
		if err = netlink.LinkAdd(v); err == nil {
			err = join(port)
		}
	})
	if err != nil {
		return fmt.Errorf("plug %s in: %v", ifname, err)
	}
	h.Do(func() {
		if err = raise(ifname); err == nil {
			err = address(ifname, addrs)
		}
	})
	if err != nil {
		return err
	}
	return errors.Join(h.Up(ifname), l.Up(port))
}

// Move takes the cable of an interface of h out of this segment and plugs it into
// another one.
func (l *LAN) Move(h *Host, ifname string, to *LAN) (err error) {
	peer := 0
	h.Do(func() {
		var link netlink.Link
		if link, err = netlink.LinkByName(ifname); err == nil {
			peer = link.Attrs().ParentIndex
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %v", ifname, err)
	}
	port := ""
	l.Do(func() {
		var link netlink.Link
		if link, err = netlink.LinkByIndex(peer); err == nil {
			port = link.Attrs().Name
			err = netlink.LinkSetNsFd(link, int(to.ns))
		}
	})
	if err != nil {
		return fmt.Errorf("unplug %s: %v", ifname, err)
	}
	if to.Do(func() { err = join(port) }); err != nil {
		return fmt.Errorf("plug %s in: %v", ifname, err)
	}
	return errors.Join(h.Up(ifname), to.Up(port))
}

// Up waits until an interface passes packets on: it drops them until the
// kernel has noticed, up to a second later, that its other end is there.
func (h *Host) Up(ifname string) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	opts := netlink.LinkSubscribeOptions{Namespace: &h.ns, ListExisting: true}
	if err := netlink.LinkSubscribeWithOptions(updates, done, opts); err != nil {
		return fmt.Errorf("watch %s: %v", ifname, err)
	}
	defer func() {
		close(done)
		go func() {
			for range updates { // until the watcher has noticed
			}
		}()
	}()
	for late := time.After(10 * time.Second); ; {
		select {
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("watch %s: ended", ifname)
			}
			if u.Attrs().Name == ifname && u.Attrs().OperState == netlink.OperUp {
				return nil
			}
		case <-late:
			return fmt.Errorf("%s does not come up", ifname)
		}
	}
}

// Tap adds a tap device to the segment, for a virtual machine that is
// started inside l with it ("-netdev tap,ifname=NAME,script=no,downscript=no").
func (l *LAN) Tap(ifname string) (err error) {
	l.Do(func() {
		t := &netlink.Tuntap{LinkAttrs: attrs(ifname), Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
		if err = netlink.LinkAdd(t); err != nil {
			return
		}
		for _, f := range t.Fds {
			f.Close()
		}
		err = join(ifname)
	})
	if err != nil {
		return fmt.Errorf("tap %s: %v", ifname, err)
	}
	return nil
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func join(port string) error {
	br, err := netlink.LinkByName("br0")
	if err != nil {
		return err
	}
	p, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetMaster(p, br), netlink.LinkSetUp(p))
}

func raise(ifname string) error {
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("%s: %v", ifname, err)
	}
	return netlink.LinkSetUp(l)
}

func address(ifname string, addrs []string) error {
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("%s: %v", ifname, err)
	}
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags |= unix.IFA_F_NODAD // usable at once
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return fmt.Errorf("%s on %s: %v", s, ifname, err)
		}
	}
	return nil
}

func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: makes network namespaces")
	}
}

// Binary is the path of a program that a test wants to run. Where it is not
// installed the test is skipped, unless MARGAY_TEST_REAL says that all of
// them have to be there.
func Binary(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		tb.Fatalf("%s: not installed, and MARGAY_TEST_REAL is set", name)
	}
	tb.Skipf("%s: not installed", name)
	return ""
}
