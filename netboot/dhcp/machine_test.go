package dhcp

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
)

// machineOf is the machine that a raw request tells of.
func machineOf(t *testing.T, raw []byte) netboot.Machine {
	t.Helper()
	var r request
	if err := r.parse(raw); err != nil {
		t.Fatal(err)
	}
	return r.machine()
}

func TestFirmware(t *testing.T) {
	tests := []struct {
		arch, class string
		want        netboot.Firmware
	}{
		{"0000", "PXEClient:Arch:00000:UNDI:002001", netboot.BIOS},
		{"0014", "HTTPClient:Arch:00020:UNDI:003000", netboot.BIOS},
		{"0007", "", netboot.UEFI64},
		{"0009", "PXEClient", netboot.UEFI64},
		{"0010", "HTTPClient", netboot.UEFI64},
		{"0006", "", netboot.UEFI32},
		{"000f", "", netboot.UEFI32},
		{"000b", "", netboot.UEFIARM64},
		{"0013", "", netboot.UEFIARM64},
		{"000c0007", "", netboot.UEFI64}, // a list, whose first we do not know
		{"000c", "PXEClient:Arch:00007:UNDI:003000", netboot.FirmwareUnknown},
		{"", "PXEClient:Arch:00007:UNDI:003000", netboot.UEFI64}, // no option 93
		{"", "HTTPClient:Arch:00016", netboot.UEFI64},
		{"00", "PXEClient", netboot.BIOS}, // half a number is none
		{"", "PXEClient:Arch:0x007", netboot.BIOS},
		{"", "PXEClient", netboot.BIOS}, // older than RFC 4578
		{"", "udhcp 1.35.0", netboot.FirmwareUnknown},
		{"", "", netboot.FirmwareUnknown},
	}
	for _, tt := range tests {
		var mods []dhcpv4.Modifier
		if tt.arch != "" {
			b, err := hex.DecodeString(tt.arch)
			if err != nil {
				t.Fatal(err)
			}
			mods = append(mods, dhcpv4.WithGeneric(dhcpv4.OptionClientSystemArchitectureType, b))
		}
		if tt.class != "" {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(tt.class)))
		}
		m := machineOf(t, made(t, mods...))
		if m.Firmware != tt.want {
			t.Errorf("93=%s 60=%q: %v, want %v", tt.arch, tt.class, m.Firmware, tt.want)
		}
		if m.HasArch != (len(tt.arch) >= 4) {
			t.Errorf("93=%s: HasArch %v", tt.arch, m.HasArch)
		}
	}
}

func TestUserClass(t *testing.T) {
	tests := []struct {
		raw    string
		want   string
		loader bool
	}{
		{"iPXE", "iPXE", true},
		{"\x04iPXE", "iPXE", true}, // RFC 3004
		{"\x05other\x04xNBA", "other,xNBA", true},
		{"\x04iPX", "\x04iPX", false}, // no list: a length that is not there
		{"\x04iPXE\x00", "\x04iPXE\x00", false},
		{"gPXE", "gPXE", true},
		{"Tinkerbell", "Tinkerbell", true},
		{"anaconda-Linux 5.14", "anaconda-Linux 5.14", false},
		{"xNBAx", "xNBAx", false},
		{"", "", false},
	}
	for _, tt := range tests {
		m := machineOf(t, made(t, dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte(tt.raw))))
		if m.UserClass != tt.want || m.Loader != tt.loader {
			t.Errorf("77=%q: %q, loader %v; want %q, %v", tt.raw, m.UserClass, m.Loader, tt.want, tt.loader)
		}
	}
}

func TestLoaderFeatures(t *testing.T) {
	tests := []struct {
		raw                   string // option 175
		loader, http, comboot bool
	}{
		{"130101230101", true, true, true},
		{"b105011af41000130101", true, true, false},
		{"230100", true, false, false}, // there, and off
		{"2301", true, false, false},   // cut off
		{"eb03010000", true, false, false},
	}
	for _, tt := range tests {
		b, err := hex.DecodeString(tt.raw)
		if err != nil {
			t.Fatal(err)
		}
		m := machineOf(t, made(t, dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(175), b)))
		if m.Loader != tt.loader || m.HTTP != tt.http || m.COMBOOT != tt.comboot {
			t.Errorf("175=%s: loader %v http %v comboot %v", tt.raw, m.Loader, m.HTTP, m.COMBOOT)
		}
	}
}

func TestMachine(t *testing.T) {
	id := "\x00" + "0123456789abcdef"
	m := machineOf(t, made(t, relayed, xnba,
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, []byte(id)),
		dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(224), []byte("secret")),
		dhcpv4.WithOption(dhcpv4.OptHostName("esx1"))))
	if m.MAC.String() != testMAC.String() || m.Ask != netboot.AskDiscover {
		t.Errorf("%v asks %v", m.MAC, m.Ask)
	}
	if m.Relay != netip.MustParseAddr("10.2.0.1") || string(m.RelayInfo) != "\x01\x04po17\x02\x02sw" {
		t.Errorf("relay %v, %q", m.Relay, m.RelayInfo)
	}
	if string(m.UUID) != id[1:] || m.Probe != "secret" || m.Hostname != "esx1" {
		t.Errorf("uuid %q, probe %q, hostname %q", m.UUID, m.Probe, m.Hostname)
	}
	if string(m.ClientID) != "\x01"+string(testMAC) {
		t.Errorf("client id %x", m.ClientID)
	}
	if !m.PXE || m.HTTPBoot || m.Class != "PXEClient:Arch:00000:UNDI:002001" {
		t.Errorf("class %q, PXE %v, HTTPBoot %v", m.Class, m.PXE, m.HTTPBoot)
	}
}

func TestUUIDOfNobody(t *testing.T) {
	for _, id := range []string{strings.Repeat("\x00", 17), "\x00" + strings.Repeat("\xff", 16), "short", ""} {
		m := machineOf(t, made(t, dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, []byte(id))))
		if m.UUID != nil {
			t.Errorf("97=%x: UUID %x", id, m.UUID)
		}
	}
}

// Where relay or client say which network an address is to be on.
func TestLink(t *testing.T) {
	subnet := dhcpv4.WithGeneric(dhcpv4.OptionSubnetSelection, []byte{10, 9, 0, 0})
	link := dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 1, 'x', 5, 4, 10, 8, 0, 0})
	tests := []struct {
		name string
		mods []dhcpv4.Modifier
		want string
	}{
		{"neither", []dhcpv4.Modifier{relayed}, "invalid IP"},
		{"client", []dhcpv4.Modifier{relayed, subnet}, "10.9.0.0"},
		{"relay", []dhcpv4.Modifier{relayed, subnet, link}, "10.8.0.0"},
		{"no relay", []dhcpv4.Modifier{link}, "invalid IP"}, // option 82 of nobody
	}
	for _, tt := range tests {
		if got := machineOf(t, made(t, tt.mods...)).Link.String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
