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
	machineIf  = "demo1"
	serverCIDR = "10.77.0.1/24"
	serverIP   = "10.77.0.1"
	machineIP  = "10.77.0.11"
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
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: serverIf}, PeerName: machineIf}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("a wire between server and machine: %v", err)
	}
	addr, _ := netlink.ParseAddr(serverCIDR)
	if err := netlink.AddrAdd(veth, addr); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	st.wire = true
	return nil
}

// giveWire moves the machine's end of the wire into the namespace of a child.
func giveWire(pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	link, err := netlink.LinkByName(machineIf)
	if err != nil {
		return err
	}
	return netlink.LinkSetNsFd(link, int(ns))
}
