package e2e

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
)

// DHCPv6 messages and options (RFC 8415, 7.3 and 21).
const (
	solicit, advertise                           = 1, 2
	optClientID, optServerID, optIANA, optIAAddr = 1, 2, 3, 5
	optPreference                                = 7
)

// refuseIPv6 plays a DHCPv6 server that has addresses and nothing to boot.
// OVMF tries its card by IPv6 before it goes on to the disk, and without any
// server it waits a minute there, busily.
func (l *lab) refuseIPv6(t *testing.T) {
	t.Helper()
	var conn *net.UDPConn
	var err error
	l.server.Do(func() {
		var eth0 *net.Interface
		if eth0, err = net.InterfaceByName("eth0"); err == nil {
			conn, err = net.ListenMulticastUDP("udp6", eth0, &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: 547})
		}
	})
	if err != nil {
		t.Fatalf("DHCPv6: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if reply := refusal(buf[:n]); reply != nil {
				conn.WriteToUDP(reply, from)
			}
		}
	}()
}

// refusal answers a SOLICIT with the most preferred ADVERTISE there can be,
// so that the client looks no further.
func refusal(msg []byte) []byte {
	if len(msg) < 4 || msg[0] != solicit {
		return nil
	}
	asked := options(msg[4:])
	if len(asked[optClientID]) == 0 || len(asked[optIANA]) < 12 {
		return nil
	}
	addr := slices.Concat(net.ParseIP("fd00::77"), make([]byte, 8)) // for no time at all
	ia := slices.Concat(asked[optIANA][:12], option(optIAAddr, addr))
	return slices.Concat([]byte{advertise}, msg[1:4],
		option(optClientID, asked[optClientID]),
		option(optServerID, []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 1}),
		option(optPreference, []byte{255}),
		option(optIANA, ia))
}

func options(b []byte) map[int][]byte {
	out := map[int][]byte{}
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+n {
			break
		}
		out[int(binary.BigEndian.Uint16(b))] = b[4 : 4+n]
		b = b[4+n:]
	}
	return out
}

func option(code uint16, value []byte) []byte {
	head := binary.BigEndian.AppendUint16(nil, code)
	return append(binary.BigEndian.AppendUint16(head, uint16(len(value))), value...)
}
