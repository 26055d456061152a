package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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
			if o := portOwner(network, ap.Port()); o != "" {
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

// portOwner is the program that holds a port, as far as /proc shows it to us:
// "dnsmasq (pid 612)", or "".
func portOwner(network string, port uint16) string {
	for _, file := range []string{network, network + "6"} {
		if inode := portInode("/proc/net/"+file, port); inode != "" {
			return inodeOwner(inode)
		}
	}
	return ""
}

// portInode finds the inode of the socket that listens on port in one of
// /proc/net's tables (proc_pid_net(5)): local_address is the second column,
// inode the tenth.
func portInode(table string, port uint16) string {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		col := strings.Fields(lines.Text())
		if len(col) < 10 {
			continue
		}
		_, hex, ok := strings.Cut(col[1], ":")
		n, err := strconv.ParseUint(hex, 16, 16)
		listening := !strings.HasPrefix(filepath.Base(table), "tcp") || col[3] == "0A"
		if ok && err == nil && uint16(n) == port && listening {
			return col[9]
		}
	}
	return ""
}

func inodeOwner(inode string) string {
	want := "socket:[" + inode + "]"
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if l, err := os.Readlink(fd); err != nil || l != want {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "pid " + pid
		}
		return strings.TrimSpace(string(name)) + " (pid " + pid + ")"
	}
	return ""
}
