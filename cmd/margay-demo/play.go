package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"

	"margay/netboot/rom"
)

// A player is a machine as the story's teller describes it to the child that
// plays it.
type player struct {
	MAC      string
	Firmware rom.Firmware
	DHCP     netip.AddrPort // loopback: asked directly
	Source   netip.Addr     // loopback: the machine's own address
	TFTPPort uint16
	Wait     bool // for the wire
}

// playMachine is the child: it boots from the network, installs itself as far
// as a server can see, boots again from its disk, and reports that it is up.
func playMachine(ctx context.Context, file string) error {
	var p player
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	m, err := p.machine()
	if err != nil {
		return err
	}
	if p.Wait {
		if err := waitForWire(ctx, m.MAC); err != nil {
			return err
		}
	}
	fmt.Printf("  [the machine is switched on: %s, %s]\n", p.MAC, p.Firmware)
	r, err := m.Boot(ctx, show)
	if err != nil {
		return err
	}
	if r.Outcome != rom.ESXi {
		return fmt.Errorf("the machine ended at %s, not in an installer", r.Outcome)
	}
	fmt.Printf("  [the installer runs: %d modules, %.1f MB, kickstart of %d bytes]\n", len(r.Modules), float64(r.Bytes)/1e6, len(r.Answer))
	if err := m.Tell(ctx, r, show, "pre", "post"); err != nil {
		return err
	}
	fmt.Println("  [it reboots]")
	again, err := m.Boot(ctx, show)
	if err != nil {
		return err
	}
	if again.Outcome != rom.LocalDisk {
		return fmt.Errorf("after the install the machine ended at %s, not at its disk", again.Outcome)
	}
	fmt.Println("  [it boots from its disk]")
	return m.Tell(ctx, r, show, "firstboot")
}

func (p *player) machine() (*rom.Machine, error) {
	mac, err := net.ParseMAC(p.MAC)
	if err != nil {
		return nil, err
	}
	m := &rom.Machine{MAC: mac, Firmware: p.Firmware, DHCP: p.DHCP, Source: p.Source, TFTPPort: p.TFTPPort, Verify: true}
	if !p.DHCP.IsValid() {
		m.Interface, m.Configure = machineIf, configure
	}
	return m, nil
}

func show(s rom.Step) {
	if s.Name == "module" {
		return
	}
	fmt.Printf("  [%-9s %s, %d ms]\n", s.Name, s.Detail, s.Took.Milliseconds())
}

// configure puts the address that DHCP gave on the machine's interface.
func configure(l rom.Lease) error {
	link, err := netlink.LinkByName(machineIf)
	if err != nil {
		return err
	}
	return netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: l.Addr.Addr().AsSlice(), Mask: net.CIDRMask(l.Addr.Bits(), 32)}})
}

// waitForWire waits until the teller has moved the wire's end here, and gives
// it the machine's address: kickstarts go to who has that alone.
func waitForWire(ctx context.Context, mac net.HardwareAddr) error {
	for {
		if link, err := netlink.LinkByName(machineIf); err == nil {
			if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
