package netboottest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"margay/netboot"
	"margay/netboot/dhcp"
	"margay/netboot/httpd"
	"margay/netboot/rom"
	"margay/netboot/tftp"
)

// wired is the site on a network of its own, where machines broadcast.
type wired struct{ *site }

func (w wired) Plan(ctx context.Context, m netboot.Machine) (*netboot.Plan, error) {
	p, err := w.site.Plan(ctx, m)
	p.Addr = netip.MustParsePrefix("10.1.0.77/24")
	p.Next = netip.MustParseAddr("10.1.0.1")
	return p, err
}

// A machine that has nothing but a wire boots: it broadcasts, takes its
// address, and loads by TFTP and HTTP.
func TestBootsFromTheWire(t *testing.T) {
	lan := NewLAN(t)
	server, client := lan.NewHost(t, "10.1.0.1/24"), lan.NewHost(t)
	s := wired{&site{dir: t.TempDir(), base: "http://10.1.0.1"}}
	s.tree(t, 100_000)

	ctx, cancel := context.WithCancel(t.Context())
	var servers sync.WaitGroup
	defer servers.Wait()
	defer cancel()
	var l net.Listener
	var d *dhcp.Conn
	var err error
	server.Do(func() {
		if l, err = net.Listen("tcp4", ":80"); err == nil {
			d, err = dhcp.ListenInterface(ctx, "eth0", dhcp.Authoritative)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	servers.Go(func() { (&httpd.Server{Opener: s}).Serve(ctx, l) })
	servers.Go(func() { (&dhcp.Server{Planner: s}).Serve(ctx, d) })
	serveTFTP(t, server, &tftp.Server{Opener: s})

	for _, fw := range []rom.Firmware{rom.UEFI, rom.UEFIHTTP} {
		m := &rom.Machine{
			MAC: client.MAC("eth0"), Firmware: fw, Interface: "eth0", Verify: true, Patience: 20 * time.Second,
			Configure: func(l rom.Lease) error {
				link, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				return netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: l.Addr.Addr().AsSlice(), Mask: net.CIDRMask(l.Addr.Bits(), 32)}})
			},
		}
		var steps []string
		client.Do(func() {
			r, err := m.Boot(ctx, func(s rom.Step) { steps = append(steps, s.Name+" "+s.Detail) })
			if err != nil {
				t.Errorf("%s: %v\n%s", fw, err, strings.Join(steps, "\n"))
			} else if r.Outcome != rom.ESXi || r.Lease.Addr.String() != "10.1.0.77/24" {
				t.Errorf("%s: %+v", fw, r)
			}
		})
	}
}
