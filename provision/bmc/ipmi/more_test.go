package ipmi

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"
)

const wantAll = `BMC Firmware: 1.10
System Manufacturer: Margay
UUID/GUID: 00112233-4455-4677-8899-AABBCCDDEEFF
Product ID: 4660
Manufacturer ID: 20301
Device ID: 32
System Description: Played Server
System Model/MTM: 7914AC1
System Revision: 02
System Serial Number: SN0001
Chassis Serial Number: CHS0001
Chassis Part Number: CH-1
Board Manufacturer: Margay Works
Board Description: Planar
Board Serial Number: BRD0001
Board Model Number: BP-77
PSU 1 Product Serial Number: PSU0001
PSU 1 Product Manufacturer: Volt
PSU 1 Product Model: PV750
PSU 1 Product Version: A
PSU 1 Product: PSU 750W
PSU 2: Not Present
`

func TestInventory(t *testing.T) {
	tests := []struct {
		kinds []string
		want  string
	}{
		{nil, wantAll},
		{[]string{"all"}, wantAll},
		{[]string{"firm"}, "BMC Firmware: 1.10\n"},
		{[]string{"mprom"}, "BMC Firmware: 1.10\n"},
		{[]string{"guid"}, "UUID/GUID: 00112233-4455-4677-8899-AABBCCDDEEFF\n"},
		{[]string{"deviceid"}, "Product ID: 4660\nManufacturer ID: 20301\nDevice ID: 32\n"},
		{[]string{"model"}, "System Description: Played Server\nSystem Model/MTM: 7914AC1\nBoard Model Number: BP-77\n"},
		{[]string{"serial"}, "System Serial Number: SN0001\nChassis Serial Number: CHS0001\nBoard Serial Number: BRD0001\n"},
	}
	c := connect(t, bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{}).Target("n1"))
	for _, tt := range tests {
		v, err := c.Inventory(t.Context(), tt.kinds...)
		if err != nil {
			t.Errorf("%v: %v", tt.kinds, err)
			continue
		}
		if got := bmctest.Text(v.Lines(tt.kinds...)); got != tt.want {
			t.Errorf("%v:\n%swant:\n%s", tt.kinds, got, tt.want)
		}
	}
	if _, err := c.Inventory(t.Context(), "pci"); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf("pci: %v, want not supported", err)
	}
}

func TestVitals(t *testing.T) {
	tests := []struct{ kind, want string }{
		{"temp", "CPU 1 Temp: 41 C (106 F)\nInlet Temp: 100 C (212 F)        (At or above upper critical threshold)\nDIMM 9 Temp: N/A\n"},
		{"voltage", "Planar 12V: 12.1 Volts\n"},
		{"fanspeed", "Fan 1: 3900 RPM\n"},
		{"wattage", ""},
		{"power", "Power Status: off\n"},
	}
	c := connect(t, bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{}).Target("n1"))
	for _, tt := range tests {
		sensors, err := c.Vitals(t.Context(), tt.kind)
		if err != nil {
			t.Fatal(err)
		}
		var lines []bmc.Line
		for _, s := range sensors {
			lines = append(lines, s.Line())
		}
		if got := bmctest.Text(lines); got != tt.want {
			t.Errorf("%s:\n%swant:\n%s", tt.kind, got, tt.want)
		}
	}
	all, err := c.Vitals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1].Line()
	if last.Label != "PSU 1" || !strings.HasPrefix(last.Value, "0                    (Presence detected") {
		t.Errorf("discrete sensor: %+v", last)
	}
}

func TestEvents(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
	c := connect(t, x.Target("n1"))
	if got, err := c.Events(t.Context(), 0); err != nil || len(got) != 0 {
		t.Fatalf("empty log: %v, %v", got, err)
	}
	at := time.Date(2024, 3, 9, 13, 5, 7, 0, time.UTC)
	x.AddEvent(at, 0x10, 9, 0x6f, 2)                   // log cleared
	x.AddEvent(at.Add(time.Hour), 0x01, 2, 0x01, 0x09) // temperature, upper critical going high
	x.AddEvent(at.Add(2*time.Hour), 0x01, 2, 0x81, 0x09)
	got, err := c.Events(t.Context(), 0)
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	for i, want := range []string{
		"03/09/2024 15:05:07 Recovery Temperature, Upper Critical - going high (Inlet Temp)",
		"03/09/2024 14:05:07 Temperature, Upper Critical - going high (Inlet Temp)",
		"03/09/2024 13:05:07 Event Logging Disabled, Log Area Reset/Cleared (Sensor 0x09)",
	} {
		if !strings.EqualFold(got[i].String(), want) {
			t.Errorf("event %d: %q, want %q", i, got[i], want)
		}
	}
	if got, err := c.Events(t.Context(), 1); err != nil || len(got) != 1 || got[0].Time.Hour() != 15 {
		t.Errorf("newest: %v, %v", got, err)
	}
	if err := c.ClearEvents(t.Context()); err != nil || x.EventCount() != 0 {
		t.Errorf("clear: %v, %d left", err, x.EventCount())
	}
}

func TestNet(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
	c := connect(t, x.Target("n1"))
	n, err := c.Net(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n.Address.String() != "10.0.0.9" || n.Netmask.String() != "255.0.0.0" || n.Gateway.String() != "10.0.0.1" || n.Community != "public" || n.DHCP || n.MAC.String() != "02:00:00:00:00:09" {
		t.Errorf("%+v", n)
	}
	addr, vlan := netip.MustParseAddr("10.0.0.77"), 300
	if err := c.SetNet(t.Context(), bmc.NetChange{Address: &addr, VLAN: &vlan}); err != nil {
		t.Fatal(err)
	}
	if got := x.LAN(3); !bytes.Equal(got, []byte{10, 0, 0, 77}) {
		t.Errorf("address %v", got)
	}
	if got := x.LAN(20); !bytes.Equal(got, []byte{0x2c, 0x81}) {
		t.Errorf("VLAN %v", got)
	}
	six := netip.MustParseAddr("fe80::1")
	if err := c.SetNet(t.Context(), bmc.NetChange{Gateway: &six}); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf("IPv6 gateway: %v", err)
	}
}

func TestSetPassword(t *testing.T) {
	for _, password := range []bmc.Secret{"short", "a-password-of-20-chr"} {
		x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
		c := connect(t, x.Target("n1"))
		if err := c.SetPassword(t.Context(), "admin", password); err != nil {
			t.Fatal(err)
		}
		target := x.Target("n1")
		target.Password = password
		connect(t, target)
		if err := c.SetPassword(t.Context(), "nobody", "x"); !errors.Is(err, bmc.ErrUser) {
			t.Errorf("unknown user: %v", err)
		}
	}
}

func TestBeacon(t *testing.T) {
	h := &bmctest.Host{}
	c := connect(t, bmctest.StartIPMI(t, h, bmctest.IPMIConfig{}).Target("n1"))
	for _, on := range []bool{true, false} {
		if err := c.Beacon(t.Context(), on); err != nil || h.Beacon() != on {
			t.Errorf("beacon %v: %v, light is %v", on, err, h.Beacon())
		}
	}
}

// serial is a port whose far end answers what it gets in capitals. It takes
// all it is given, as a line does.
func serial(t *testing.T) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = far.Close() })
		line := make(chan []byte, 4096)
		go func() {
			defer close(line)
			buf := make([]byte, 512)
			for {
				n, err := far.Read(buf)
				if err != nil {
					return
				}
				line <- bytes.ToUpper(buf[:n])
			}
		}()
		go func() {
			for b := range line {
				if _, err := far.Write(b); err != nil {
					return
				}
			}
		}()
		return near, nil
	}
}

func TestConsole(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Console: serial(t)})
	c := connect(t, x.Target("n1"))
	con, err := c.Console(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("the quick brown fox jumps over the lazy dog ", 40)
	if _, err := con.Write([]byte(long)); err != nil {
		t.Fatal(err)
	}
	bmctest.Expect(t, con, strings.ToUpper(long))
	second, err := c.Console(t.Context()) // takes it over
	if err != nil {
		t.Fatalf("second console: %v", err)
	}
	if _, err := con.Read(make([]byte, 1)); err == nil {
		t.Error("the first console was not ended by the second")
	}
	_ = con.Close() // which must not end what is another's now
	for range 5 {
		_, _ = second.Write([]byte("again\r"))
		bmctest.Expect(t, second, "AGAIN\r")
		if second, err = c.Console(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = second.Write([]byte("last\r"))
	bmctest.Expect(t, second, "LAST\r")
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := second.Write([]byte("x")); err == nil {
		t.Error("write after close succeeded")
	}
	eventually(t, "only the controller's own session is left", func() bool { return x.Sessions() == 1 })
}

func TestFaultyNetwork(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Console: serial(t), Sessions: 30})
	l, err := bmctest.NewLossy(x.Addr, bmctest.Faults{Loss: 0.05, Duplicate: 0.2, Reorder: 0.1, Corrupt: 0.2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	target := x.Target("n1")
	target.Port = l.Addr.Port
	target.Timeout = 4 * time.Second
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c, err := Dial(t.Context(), target)
			if err != nil {
				t.Errorf("Dial: %v", err)
				return
			}
			defer func() { _ = c.Close() }()
			v, err := c.Inventory(t.Context())
			if err != nil {
				t.Errorf("Inventory: %v", err)
				return
			}
			if got := bmctest.Text(v.Lines()); got != wantAll {
				t.Errorf("inventory through a faulty network:\n%s", got)
			}
		})
	}
	wg.Wait()
	c := connect(t, target)
	con, err := c.Console(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = con.Close() }()
	long := strings.Repeat("all work and no play makes jack a dull boy ", 50)
	_, _ = con.Write([]byte(long))
	bmctest.Expect(t, con, strings.ToUpper(long))
}

// TestHostile has everything the BMC says preceded by packets that an
// attacker who sees the traffic could send.
func TestHostile(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Console: serial(t)})
	l, err := bmctest.NewLossy(x.Addr, bmctest.Faults{Hostile: hostile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	target := x.Target("n1")
	target.Port = l.Addr.Port
	c := connect(t, target)
	v, err := c.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := bmctest.Text(v.Lines()); got != wantAll {
		t.Errorf("inventory among hostile packets:\n%s", got)
	}
	con, err := c.Console(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = con.Close() }()
	_, _ = con.Write([]byte("hello"))
	bmctest.Expect(t, con, "HELLO")
}

func hostile(answer []byte) [][]byte {
	var out [][]byte
	for _, n := range []int{0, 1, 4, 5, 13, 14, 15, 16, 17, len(answer) / 2, len(answer) - 1} {
		if n < len(answer) {
			out = append(out, answer[:n])
		}
	}
	if len(answer) > 20 && answer[4] == authRMCPPlus && answer[5]&flagAuthenticated != 0 {
		for _, i := range []int{10, 14, 16, len(answer) - 20, len(answer) - 1} {
			bad := append([]byte(nil), answer...)
			bad[i] ^= 0x55
			out = append(out, bad)
		}
		plain := append([]byte(nil), answer...) // the same, said not to be protected
		plain[5] &^= flagAuthenticated | flagEncrypted
		out = append(out, plain)
	}
	big := append(append([]byte(nil), answer...), make([]byte, 1400)...)
	return append(out, big[:1400], bytes.Repeat([]byte{0xff}, 600))
}
