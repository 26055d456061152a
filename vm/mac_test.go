package vm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func chaos() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{1}) }

func TestMACPool(t *testing.T) {
	addr := netip.MustParseAddr("192.168.5.202")
	for range 200 {
		mac, err := MACPool{Prefix: "00:50:56", Random: chaos()}.New(addr)
		if err != nil || RangeOf(mac) != RangeStatic {
			t.Fatalf("%s is of range %s, %v", mac, RangeOf(mac), err)
		}
	}
	mac, err := MACPool{Random: chaos()}.New(addr)
	if err != nil || mac[0] != 0x42 || !bytes.Equal(mac[2:], []byte{192, 168, 5, 202}) {
		t.Errorf("without prefix: %s, %v", mac, err)
	}
	mac, err = MACPool{Prefix: "1A-B5-C0", Random: chaos()}.New(netip.Addr{})
	if err != nil || !strings.HasPrefix(mac.String(), "1a:b5:c0:") {
		t.Errorf("with prefix: %s, %v", mac, err)
	}
	tried := 0
	_, err = MACPool{Random: chaos(), Taken: func(string) bool { tried++; return true }}.New(addr)
	if !errors.Is(err, ErrExists) || tried != maxTries {
		t.Errorf("with all taken: %v after %d", err, tried)
	}
	for _, bad := range []string{"00:50", "zz:zz:zz", "01:00:5e", "00:50:56:00"} {
		if _, err := (MACPool{Prefix: bad, Random: chaos()}).New(addr); err == nil {
			t.Errorf("prefix %q is let pass", bad)
		}
	}
}

func TestRangeOf(t *testing.T) {
	for in, want := range map[string]MACRange{
		"00:50:56:00:00:00": RangeStatic, "00:50:56:3f:ff:ff": RangeStatic,
		"00:50:56:40:00:00": RangeReserved, "00:50:56:7f:ff:ff": RangeReserved,
		"00:50:56:80:00:00": RangeVCenter, "00:50:56:bf:ff:ff": RangeVCenter,
		"00:50:56:c0:00:00": RangeReserved,
		"00:0c:29:12:34:56": RangeHost, "42:1b:c0:a8:05:ca": RangeForeign,
	} {
		hw, _ := net.ParseMAC(in)
		if got := RangeOf(hw); got != want {
			t.Errorf("RangeOf(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestCheckMAC(t *testing.T) {
	for in, ok := range map[string]bool{
		"42:1b:c0:a8:05:ca": true, "00:50:56:3f:ff:ff": true, "00:50:56:80:00:01": true,
		"00:50:56:40:00:00": false, "01:00:5e:00:00:01": false, "zz": false, "00:00:00:00:00:00:00:00": false,
	} {
		if err := CheckMAC(in); (err == nil) != ok {
			t.Errorf("CheckMAC(%s): %v", in, err)
		}
	}
}

func TestUUID(t *testing.T) {
	const vsphere, smbios = "658f1942-79d5-26fb-8de7-3ae49e1790a7", "42198f65-d579-fb26-8de7-3ae49e1790a7"
	if got := SwapUUID(vsphere); got != smbios {
		t.Errorf("SwapUUID = %s, want %s", got, smbios)
	}
	if got := SwapUUID(SwapUUID(vsphere)); got != vsphere {
		t.Errorf("twice: %s", got)
	}
	if got := SwapUUID("none"); got != "none" {
		t.Errorf("of no UUID: %s", got)
	}
	u, err := NewUUID(chaos())
	if err != nil || CheckUUID(u) != nil || u[14] != '4' || !strings.ContainsRune("89ab", rune(u[19])) {
		t.Errorf("NewUUID = %s, %v", u, err)
	}
}
