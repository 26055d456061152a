package dhcp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
	"margay/netboot/netboottest"
)

// TestTshark: an independent reader finds nothing to complain of in any
// exchange of the golden files, nor in answers to lease queries.
func TestTshark(t *testing.T) {
	tshark := netboottest.Binary(t, "tshark")
	file := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	file = append(file, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0)
	file = binary.LittleEndian.AppendUint32(file, 101) // LINKTYPE_RAW
	packets := 0
	add := func(from, to netip.AddrPort, msg []byte) {
		packets++
		ip := datagram(from, to, msg)
		file = append(file, make([]byte, 8)...)
		file = binary.LittleEndian.AppendUint32(file, uint32(len(ip)))
		file = binary.LittleEndian.AppendUint32(file, uint32(len(ip)))
		file = append(file, ip...)
	}
	everybody := netip.MustParseAddrPort("255.255.255.255:67")
	for _, tt := range exchanges(t) {
		msg, to := played(t, tt)
		add(netip.MustParseAddrPort("0.0.0.0:68"), everybody, tt.raw)
		add(netip.AddrPortFrom(ourAddr, serverPort), to, msg)
	}
	for _, h := range []*netboot.Holding{nil, {Addr: testPlan.Addr.Addr()}, {Addr: testPlan.Addr.Addr(), MAC: testMAC, Ends: time.Hour, Others: testPlan.DNS,
		Length: 2 * time.Hour, Silent: time.Hour, ClientID: []byte("me"), RelayInfo: []byte{1, 2, 'e', '7'}, Told: &testPlan}} {
		raw := made(t, relayed, dhcpv4.WithMessageType(dhcpv4.MessageType(msgLeaseQuery)), dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, []byte{1, 3, 6, 15, 51, 58, 59, 61, 82, 91, 92}))
		x := new(exchange)
		x.n, x.src = copy(x.in[:], raw), netip.MustParseAddrPort("10.2.0.1:67")
		if err := x.parse(&sock{mode: Authoritative}); err != nil {
			t.Fatal(err)
		}
		add(x.src, netip.AddrPortFrom(ourAddr, serverPort), raw)
		add(netip.AddrPortFrom(ourAddr, serverPort), destination(&x.req, x.src, msgLeaseActive), leaseReply(x.out[:0], &x.req, ourAddr.As4(), h))
	}
	path := filepath.Join(t.TempDir(), "dhcp.pcap")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command(tshark, append([]string{"-n", "-r", path}, args...)...)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark: %v\n%s", err, errs.String())
		}
		return string(out)
	}
	if n := strings.Count(run("-Y", "dhcp"), "\n"); n != packets {
		t.Errorf("tshark sees DHCP in %d of %d packets", n, packets)
	}
	// iPXE's own requests are remarked on; our replies must not be, but for what tshark
	// remarks on where options stand in both fields.
	const overloaded = "Server name option overloaded by DHCP,Boot file name option overloaded by DHCP"
	said := run("-Y", "udp.srcport == 67 && (_ws.malformed || _ws.expert)", "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message", "-e", "dhcp.option.type")
	seen := 0
	for line := range strings.Lines(said) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) != 3 || f[1] != overloaded {
			t.Errorf("tshark complains: %s", line)
		} else if seen++; !strings.HasSuffix(f[2], ",14,17,64,52,40,0,18,64,0,0") { // in the order of the octets
			t.Errorf("tshark sees the options %s", f[2])
		}
	}
	if seen != 1 {
		t.Errorf("tshark sees options in the fields of %d messages, want 1", seen)
	}
}

// datagram is msg by UDP in IPv4.
func datagram(from, to netip.AddrPort, msg []byte) []byte {
	b := make([]byte, 28, 28+len(msg))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(msg)))
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum&0xffff))
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(msg)))
	return append(b, msg...)
}
