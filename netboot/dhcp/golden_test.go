package dhcp

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"margay/netboot"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var ourAddr = netip.MustParseAddr("10.1.0.1")

// captured is a request as the machine that its name says sent it.
func captured(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".req"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A PXE ROM of a BIOS, as Intel's boot agents ask.
func biosROM(d *dhcpv4.DHCPv4) {
	d.SetBroadcast()
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionParameterRequestList, []byte{1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135}))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, append([]byte{0}, "0123456789abcdef"...)))
	d.UpdateOption(dhcpv4.OptClientArch(iana.INTEL_X86PC))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 2, 1}))
	d.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001"))
	d.UpdateOption(dhcpv4.OptMaxMessageSize(1260))
}

// xNBA, xCAT's build of iPXE, which can start COM32 programs.
func xnba(d *dhcpv4.DHCPv4) {
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionParameterRequestList, []byte{1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 175, 203}))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte("xNBA")))
	d.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001"))
	d.UpdateOption(dhcpv4.OptClientArch(iana.INTEL_X86PC))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(175), []byte{0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0x13, 1, 1, 0x23, 1, 1}))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, append([]byte{1}, testMAC...)))
}

// mboot's HTTP driver in the firmware asks a second time, and does not say
// what it is.
func plainUEFI(d *dhcpv4.DHCPv4) {
	d.SetBroadcast()
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionParameterRequestList, []byte{1, 3, 6, 15, 12}))
}

// udhcpc takes no more than it must.
func asking576(d *dhcpv4.DHCPv4) {
	d.UpdateOption(dhcpv4.OptMaxMessageSize(576))
}

func relayed(d *dhcpv4.DHCPv4) {
	plainUEFI(d)
	d.HopCount = 1
	d.GatewayIPAddr = net.IPv4(10, 2, 0, 1)
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 4, 'p', 'o', '1', '7', 2, 2, 's', 'w'}))
}

func renewing(d *dhcpv4.DHCPv4) {
	d.SetUnicast()
	d.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	d.ClientIPAddr = net.IPv4(10, 1, 0, 11)
}

func rebooting(addr net.IP) dhcpv4.Modifier {
	return func(d *dhcpv4.DHCPv4) {
		d.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
		d.UpdateOption(dhcpv4.OptRequestedIPAddress(addr))
	}
}

func informing(d *dhcpv4.DHCPv4) {
	renewing(d)
	d.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeInform))
}

func made(t testing.TB, mods ...dhcpv4.Modifier) []byte {
	return discover(t, mods...).ToBytes()
}

// file is what a planner has this machine boot.
func file(m *netboot.Machine) string {
	switch {
	case m.Loader:
		return "http://10.1.0.1/boot/esx1/script"
	case m.HTTPBoot:
		return "http://10.1.0.1/boot/esx1/bootx64.efi"
	case m.PXE && m.Firmware == netboot.BIOS:
		return "xcat/xnba.kpxe"
	case m.PXE:
		return "xcat/xnba.efi"
	}
	return ""
}

// An exchangeCase is a request of the golden files.
type exchangeCase struct {
	name  string
	raw   []byte
	proxy bool
	plan  netboot.Plan // but for its boot file; the zero Plan: testPlan
}

func exchanges(t testing.TB) []exchangeCase {
	return []exchangeCase{
		{name: "bios-rom", raw: made(t, biosROM)},
		{name: "seabios-ipxe-discover", raw: captured(t, "seabios-ipxe-discover")},
		{name: "seabios-ipxe-request", raw: captured(t, "seabios-ipxe-request")},
		{name: "ovmf-pxe-discover", raw: captured(t, "ovmf-pxe-discover")},
		{name: "ovmf-pxe-request", raw: captured(t, "ovmf-pxe-request")},
		{name: "ovmf-http-discover", raw: captured(t, "ovmf-http-discover")},
		{name: "ovmf-http-request", raw: captured(t, "ovmf-http-request")},
		{name: "xnba", raw: made(t, xnba)},
		{name: "mboot-http", raw: made(t, plainUEFI)},
		{name: "relay", raw: made(t, relayed)},
		{name: "renew", raw: made(t, renewing)},
		{name: "reboot", raw: made(t, rebooting(net.IPv4(10, 1, 0, 11)))},
		{name: "nak", raw: made(t, rebooting(net.IPv4(192, 168, 1, 7)))},
		{name: "nak-relay", raw: made(t, relayed, rebooting(net.IPv4(192, 168, 1, 7)))},
		{name: "inform", raw: made(t, informing)},
		{name: "overload", raw: made(t, asking576), plan: crowded()},
		{name: "proxy-ovmf-pxe", raw: captured(t, "ovmf-pxe-discover"), proxy: true},
		{name: "proxy-seabios-ipxe", raw: captured(t, "seabios-ipxe-discover"), proxy: true},
	}
}

// TestGolden shows each kind of machine's exchange byte by byte: what it
// sends and what it is sent.
func TestGolden(t *testing.T) {
	for _, tt := range exchanges(t) {
		t.Run(tt.name, func(t *testing.T) { golden(t, tt.name, exchangeText(t, tt)) })
	}
}

// exchangeText is a whole exchange for people to read: the library's reading
// of both messages, and the reply's octets.
func exchangeText(t *testing.T, c exchangeCase) string {
	t.Helper()
	msg, to := played(t, c)
	got, err := dhcpv4.FromBytes(msg)
	if err != nil {
		t.Fatalf("the library does not read our reply: %v", err)
	}
	asked, err := dhcpv4.FromBytes(c.raw)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s\nto %v\n%s\n%s", asked.Summary(), to, got.Summary(), hex.Dump(msg))
	return strings.Map(func(r rune) rune { // of a name that holds options
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '.'
	}, text)
}

// played is the reply to a request without sockets, and where it goes.
func played(t *testing.T, c exchangeCase) ([]byte, netip.AddrPort) {
	t.Helper()
	k := &sock{ifname: "eth0", ifindex: 2, mode: Authoritative}
	if c.proxy {
		k.mode = Proxy
	}
	x := new(exchange)
	x.n = copy(x.in[:], c.raw)
	x.src = netip.MustParseAddrPort("0.0.0.0:68")
	x.local, x.ifindex = ourAddr, 2
	if err := x.parse(k); err != nil {
		t.Fatal(err)
	}
	m := x.machine(k)
	plan := c.plan
	if plan.Node == "" {
		plan = testPlan
	}
	if m.Server.IsValid() {
		plan.Server = m.Server // of the captures
	}
	if m.Requested == netip.MustParseAddr("10.77.0.50") {
		plan.Addr = netip.MustParsePrefix("10.77.0.50/24")
	}
	plan.File = file(&m)
	kind, msg, lost := x.reply(k, &m, &plan)
	if kind == 0 {
		t.Fatal("no reply")
	}
	if len(lost) > 0 {
		t.Errorf("left out: %v", lost)
	}
	return msg, x.destination(k, kind)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal([]byte(got), want) {
		t.Errorf("%s differs; -update rewrites it\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}
