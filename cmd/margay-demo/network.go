package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// enter starts this program again in a network namespace of its own, which
// ends with it.
func enter(ctx context.Context, bin string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-inside", "-margay", bin)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.EPERM):
		fmt.Println("(network namespaces are not allowed here: on loopback instead)")
		return tell(ctx, bin, false)
	case errors.As(err, &exit):
		return exitStatus(exit.ExitCode())
	}
	return err
}

// Names and addresses on the private network.
const (
	serverIf   = "demo0"
	serverCIDR = "10.77.0.1/24"
	hostIP     = "10.77.0.11"
	guestIP    = "10.77.0.21"
)

// network lays the wire between server and machine, if we may.
func (st *stage) network() error {
	if !st.inside {
		return nil
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	sw := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: serverIf}}
	if err := netlink.LinkAdd(sw); err != nil {
		return fmt.Errorf("a switch between server and machines: %v", err)
	}
	addr, _ := netlink.ParseAddr(serverCIDR)
	if err := netlink.AddrAdd(sw, addr); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(sw); err != nil {
		return err
	}
	st.wire = true
	return nil
}

// plug lays a wire from the switch into the namespace of a child.
func plug(name string, pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	sw, err := netlink.LinkByName(serverIf)
	if err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "p-" + name, MasterIndex: sw.Attrs().Index}, PeerName: machineIf, PeerNamespace: netlink.NsFd(int(ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("a wire to %s: %v", name, err)
	}
	return netlink.LinkSetUp(veth)
}

// machineIf is a machine's own interface, in its namespace.
const machineIf = "eth0"
