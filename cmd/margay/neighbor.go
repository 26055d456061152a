package main

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
)

// neighbor is the interface that answers for an address, as the kernel last
// heard; nil if it does not know.
func neighbor(addr netip.Addr) net.HardwareAddr {
	f, err := os.Open("/proc/net/arp")
	if err != nil {
		return nil
	}
	defer f.Close()
	return neighborIn(f, addr)
}

// neighborIn reads the kernel's table: address, hardware type, flags, hardware
// address, mask and device in each line. Flag 2 is an entry that is complete.
func neighborIn(table io.Reader, addr netip.Addr) net.HardwareAddr {
	want := addr.Unmap().String()
	for in := bufio.NewScanner(table); in.Scan(); {
		w := strings.Fields(in.Text())
		if len(w) < 6 || w[0] != want || w[2] == "0x0" {
			continue
		}
		if hw, err := net.ParseMAC(w[3]); err == nil {
			return hw
		}
	}
	return nil
}
