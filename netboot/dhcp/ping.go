package dhcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Ping asks an address for an echo (RFC 2131, 3.1 has servers do so before
// they give it) and says whether it answers in time. It is for networks behind
// relays, which InUse does not reach. It needs CAP_NET_RAW.
func Ping(ctx context.Context, addr netip.Addr, wait time.Duration) (bool, error) {
	c, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return false, fmt.Errorf("ping %s: %v; it needs CAP_NET_RAW", addr, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	var word [12]byte
	if _, err := rand.Read(word[:]); err != nil {
		return false, err
	}
	id := int(word[0])<<8 | int(word[1])
	ask := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: 1, Data: word[2:]}}
	msg, err := ask.Marshal(nil)
	if err != nil {
		return false, err
	}
	if _, err := c.WriteTo(msg, &net.IPAddr{IP: addr.AsSlice()}); err != nil {
		return false, fmt.Errorf("ping %s: %v", addr, err)
	}
	c.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, ctx.Err()
		}
		if err != nil {
			return false, fmt.Errorf("ping %s: %v", addr, err)
		}
		got, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || got.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		echo, ok := got.Body.(*icmp.Echo)
		if ok && echo.ID == id && string(echo.Data) == string(word[2:]) && from.String() == addr.String() {
			return true, nil
		}
	}
}
