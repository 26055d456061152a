package dhcp

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"margay/netboot/netboottest"
)

func TestAdvertiseNone(t *testing.T) {
	lan := netboottest.NewLAN(t)
	server, client := lan.NewHost(t), lan.NewHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go server.Do(func() { done <- AdvertiseNone(ctx, "eth0") })
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	var p *ipv6.PacketConn
	var ifi *net.Interface
	client.Do(func() {
		c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			t.Fatal(err)
		}
		p = c.IPv6PacketConn()
		ifi, err = net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(p.SetControlMessage(ipv6.FlagHopLimit, true), p.SetMulticastInterface(ifi), p.SetMulticastHopLimit(255))
		if err != nil {
			t.Fatal(err)
		}
	})
	defer p.Close()
	got := make(chan []byte, 1)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, cm, _, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			if buf[0] == byte(ipv6.ICMPTypeRouterAdvertisement) && cm.HopLimit == 255 {
				got <- append([]byte(nil), buf[:n]...)
				return
			}
		}
	}()
	ask := time.NewTicker(200 * time.Millisecond) // the link-local address takes a second to be usable
	defer ask.Stop()
	for deadline := time.After(time.Minute); ; {
		select {
		case ra := <-got:
			if len(ra) != 16 || ra[6] != 0 || ra[7] != 0 {
				t.Errorf("advertisement %x: want lifetime 0 and no options", ra)
			}
			return
		case <-ask.C:
			p.WriteTo([]byte{133, 0, 0, 0, 0, 0, 0, 0}, &ipv6.ControlMessage{IfIndex: ifi.Index}, &net.IPAddr{IP: net.IPv6linklocalallrouters})
		case <-deadline:
			t.Fatal("no advertisement")
		}
	}
}

func TestSolicitation(t *testing.T) {
	good := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	near := &ipv6.ControlMessage{HopLimit: 255, IfIndex: 2}
	tests := []struct {
		name string
		b    []byte
		cm   *ipv6.ControlMessage
		want bool
	}{
		{"good", good, near, true},
		{"routed", good, &ipv6.ControlMessage{HopLimit: 254, IfIndex: 2}, false},
		{"another interface", good, &ipv6.ControlMessage{HopLimit: 255, IfIndex: 3}, false},
		{"short", good[:7], near, false},
		{"code", []byte{133, 1, 0, 0, 0, 0, 0, 0}, near, false},
		{"nothing known", good, nil, false},
	}
	for _, tt := range tests {
		if got := solicitation(tt.b, tt.cm, 2); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
