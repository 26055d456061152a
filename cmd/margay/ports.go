package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// portError explains why a port cannot be served: it names the port, who
// holds it if that can be known, and the way out.
func portError(what, network, addr, flag string, err error) error {
	way := fmt.Sprintf("give another with %s", flag)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		owner := "another program"
		if ap, perr := parsePort(addr); perr == nil {
			if o := portOwner(network, ap); o != "" {
				owner = o
			}
		}
		return fmt.Errorf("%s: port %s is held by %s; stop that, or %s", what, addr, owner, way)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%s: port %s needs CAP_NET_BIND_SERVICE; start as root or by the unit file, or %s above 1023", what, addr, way)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %s is not an address of this host; %s", what, addr, way)
	}
	return fmt.Errorf("%s on %s: %v", what, addr, err)
}

// parsePort reads ":80" and "10.1.0.1:80".
func parsePort(s string) (netip.AddrPort, error) {
	if strings.HasPrefix(s, ":") {
		s = "0.0.0.0" + s
	}
	return netip.ParseAddrPort(s)
}

// portOwner is the program that holds a port at an address, as far as /proc shows
// it to us: "dnsmasq (pid 612)", or "".
func portOwner(network string, at netip.AddrPort) string {
	for _, inode := range portInodes(network, at) {
		if pid, name := inodeOwner(inode); pid > 0 {
			return fmt.Sprintf("%s (pid %d)", name, pid)
		}
	}
	return ""
}

// portHolders are the programs beside us that hold a port; those that are not
// ours to see are "another user's program".
func portHolders(network string, port int) []string {
	var out []string
	for _, inode := range portInodes(network, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port))) {
		pid, name := inodeOwner(inode)
		who := fmt.Sprintf("%s (pid %d)", name, pid)
		if pid == 0 {
			who = "another user's program"
		}
		if pid != os.Getpid() && !slices.Contains(out, who) {
			out = append(out, who)
		}
	}
	return out
}

// portInodes finds the inodes of the sockets that are in the way of an address
// and port, of TCP those that listen, in /proc/net's tables (proc_pid_net(5)):
// local_address is the second column, the inode the tenth.
func portInodes(network string, at netip.AddrPort) []string {
	var out []string
	for _, table := range []string{network, network + "6"} {
		f, err := os.Open("/proc/net/" + table)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			col := strings.Fields(lines.Text())
			if len(col) < 10 {
				continue
			}
			own, ok := procAddr(col[1])
			listening := network != "tcp" || col[3] == "0A"
			one := own.Addr() == at.Addr() || own.Addr().IsUnspecified() || at.Addr().IsUnspecified()
			if ok && own.Port() == at.Port() && one && listening {
				out = append(out, col[9])
			}
		}
		f.Close()
	}
	return out
}

// procAddr reads an address and port of /proc/net's tables: the address in words
// of four bytes, each as the processor has it in memory.
func procAddr(s string) (netip.AddrPort, bool) {
	addr, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(addr)
	n, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for w := b; len(w) > 0; w = w[4:] {
		binary.NativeEndian.PutUint32(w, binary.BigEndian.Uint32(w))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), ok
}

// inodeOwner is the process that has a socket open; 0 if we may not see it.
func inodeOwner(inode string) (pid int, name string) {
	want := "socket:[" + inode + "]"
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if l, err := os.Readlink(fd); err != nil || l != want {
			continue
		}
		text := strings.Split(fd, "/")[2]
		pid, _ = strconv.Atoi(text)
		comm, err := os.ReadFile("/proc/" + text + "/comm")
		if err != nil {
			return pid, "a program"
		}
		return pid, strings.TrimSpace(string(comm))
	}
	return 0, ""
}
