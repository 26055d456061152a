package redfish

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"
)

func dialer() *Dialer { return &Dialer{Pins: &bmc.MemoryPins{}} }

func connect(t *testing.T, target bmc.Target) *Controller {
	t.Helper()
	c, err := dialer().Dial(t.Context(), target)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*Controller) //nolint:forcetypeassert // it is
}

func TestPowerWords(t *testing.T) {
	words := append(bmctest.PowerWords(), bmctest.PowerWord{On: true, Action: bmc.SoftOff, Word: "softoff", Orders: "off"},
		bmctest.PowerWord{On: true, Action: bmc.NMI, Word: "nmi", Orders: "nmi"})
	bmctest.TestPower(t, words, func(t *testing.T, h *bmctest.Host) bmc.Machine {
		return connect(t, bmctest.StartRedfish(t, h, bmctest.RedfishConfig{}).Target("n1"))
	})
}

func TestPowerVariants(t *testing.T) {
	tests := []struct {
		name   string
		config bmctest.RedfishConfig
		lag    time.Duration
		action bmc.Action
		want   string
	}{
		{"no PowerCycle", bmctest.RedfishConfig{ResetTypes: []string{"On", "ForceOff", "ForceRestart"}}, 0, bmc.Cycle, "off on"},
		{"ActionInfo", bmctest.RedfishConfig{ActionInfo: true, ResetTypes: []string{"ForceOn", "ForceOff", "ForceRestart"}}, 0, bmc.Reset, "reset"},
		{"iLO's soft off", bmctest.RedfishConfig{Vendor: "HPE", ResetTypes: []string{"On", "ForceOff", "PushPowerButton"}}, 0, bmc.SoftOff, "off"},
		{"slow", bmctest.RedfishConfig{}, 400 * time.Millisecond, bmc.Off, "off"},
		{"slow, without cycle", bmctest.RedfishConfig{ResetTypes: []string{"On", "ForceOff"}}, 400 * time.Millisecond, bmc.Cycle, "off on"},
	}
	for _, tt := range tests {
		h := bmctest.Switched(true)
		h.Lag = tt.lag
		c := connect(t, bmctest.StartRedfish(t, h, tt.config).Target("n1"))
		_, err := bmc.Power(t.Context(), c, tt.action, 0)
		if got := strings.Join(h.Orders()[1:], " "); err != nil || got != tt.want {
			t.Errorf("%s: %v, orders %q, want %q", tt.name, err, got, tt.want)
		}
	}
	c := connect(t, bmctest.StartRedfish(t, bmctest.Switched(true), bmctest.RedfishConfig{ResetTypes: []string{"On"}}).Target("n1"))
	if _, err := bmc.Power(t.Context(), c, bmc.NMI, 0); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf("nmi without Nmi: %v", err)
	}
}

// TestConflict has a machine that is on its way off when it is told "on".
func TestConflict(t *testing.T) {
	h := bmctest.Switched(true)
	h.Lag = 600 * time.Millisecond
	x := bmctest.StartRedfish(t, h, bmctest.RedfishConfig{})
	c := connect(t, x.Target("n1"))
	if err := c.Do(t.Context(), bmc.Off); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), bmc.Off); err != nil { // 409: where it leads
		t.Errorf("second off: %v", err)
	}
	if err := c.Do(t.Context(), bmc.On); err != nil { // 409 until it is off
		t.Errorf("on while going off: %v", err)
	}
	if err := c.Do(t.Context(), bmc.On); err != nil {
		t.Errorf("second on: %v", err)
	}
	if got := strings.Join(h.Orders(), " "); got != "on off on" {
		t.Errorf("orders %q", got)
	}
}

func TestPowerIgnored(t *testing.T) {
	c := connect(t, bmctest.StartRedfish(t, &bmctest.Host{IgnorePower: true}, bmctest.RedfishConfig{}).Target("n1"))
	if _, err := bmc.Power(t.Context(), c, bmc.On, 300*time.Millisecond); !errors.Is(err, bmc.ErrIgnored) {
		t.Errorf("%v, want ignored", err)
	}
}

func TestBoot(t *testing.T) {
	tests := []struct {
		name   string
		config bmctest.RedfishConfig
		set    bmc.Boot
		notes  int
	}{
		{"net", bmctest.RedfishConfig{}, bmc.Boot{Device: bmc.Network, UEFI: true}, 0},
		{"persistent", bmctest.RedfishConfig{}, bmc.Boot{Device: bmc.HardDisk, UEFI: true, Persistent: true}, 0},
		{"cd", bmctest.RedfishConfig{}, bmc.Boot{Device: bmc.CD, UEFI: true}, 0},
		{"http", bmctest.RedfishConfig{}, bmc.Boot{Device: bmc.HTTP, UEFI: true, URI: "http://10.0.0.1/boot/n1/bootx64.efi"}, 0},
		{"etag", bmctest.RedfishConfig{NeedETag: true}, bmc.Boot{Device: bmc.Network, UEFI: true}, 0},
		{"iLO", bmctest.RedfishConfig{Vendor: "HPE", ModeFixed: true}, bmc.Boot{Device: bmc.Network, UEFI: true}, 0},
		{"Supermicro", bmctest.RedfishConfig{Vendor: "Supermicro", WholeBoot: true}, bmc.Boot{Device: bmc.Network, UEFI: true}, 0},
		{"sticky", bmctest.RedfishConfig{Sticky: true}, bmc.Boot{Device: bmc.Network, UEFI: true}, 1},
	}
	for _, tt := range tests {
		h := &bmctest.Host{}
		c := connect(t, bmctest.StartRedfish(t, h, tt.config).Target("n1"))
		got, notes, err := bmc.SetBoot(t.Context(), c, tt.set)
		want := tt.set
		want.Persistent = want.Persistent || tt.config.Sticky
		if err != nil || got != want || len(notes) != tt.notes {
			t.Errorf("%s: %+v %q %v", tt.name, got, notes, err)
		}
		if h.Boot() != want {
			t.Errorf("%s: the machine has %+v", tt.name, h.Boot())
		}
	}
}

func TestBootOnce(t *testing.T) {
	h := bmctest.Switched(true)
	c := connect(t, bmctest.StartRedfish(t, h, bmctest.RedfishConfig{}).Target("n1"))
	if _, _, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.Network}); err != nil {
		t.Fatal(err)
	}
	if _, err := bmc.Power(t.Context(), c, bmc.Reset, 0); err != nil {
		t.Fatal(err)
	}
	if boots := h.Boots(); boots[len(boots)-1].Device != bmc.Network {
		t.Errorf("booted from %+v", boots[len(boots)-1])
	}
	if b, err := c.Boot(t.Context()); err != nil || b.Device != bmc.NoOverride {
		t.Errorf("after the boot: %+v, %v", b, err)
	}
	if got, _, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.Default}); err != nil || got.String() != "boot override inactive" {
		t.Errorf("def: %v, %v", got, err)
	}
	if _, _, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.Floppy}); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf("floppy: %v", err)
	}
}

func TestBootLies(t *testing.T) {
	c := connect(t, bmctest.StartRedfish(t, &bmctest.Host{IgnoreBoot: true}, bmctest.RedfishConfig{}).Target("n1"))
	if _, _, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.Network}); !errors.Is(err, bmc.ErrIgnored) {
		t.Errorf("%v, want ignored", err)
	}
}

func TestLogin(t *testing.T) {
	tests := []struct {
		name     string
		config   bmctest.RedfishConfig
		password bmc.Secret
		want     error
	}{
		{"session", bmctest.RedfishConfig{NoBasic: true}, "secret", nil},
		{"basic", bmctest.RedfishConfig{OnlyBasic: true}, "secret", nil},
		{"wrong password", bmctest.RedfishConfig{}, "hunter2", bmc.ErrPassword},
		{"wrong password, basic", bmctest.RedfishConfig{OnlyBasic: true}, "hunter2", bmc.ErrPassword},
	}
	for _, tt := range tests {
		x := bmctest.StartRedfish(t, nil, tt.config)
		target := x.Target("n1")
		target.Password = tt.password
		c, err := dialer().Dial(t.Context(), target)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && err.Error() != bmc.ErrPassword.Error() {
			t.Errorf("%s: %q is not what xCAT prints", tt.name, err)
		}
		if err == nil {
			_ = c.Close()
		}
		if n := x.Sessions(); n != 0 {
			t.Errorf("%s: %d sessions are left", tt.name, n)
		}
	}
}

func TestSessions(t *testing.T) {
	x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{NoBasic: true, Sessions: 1})
	c := connect(t, x.Target("n1"))
	if _, err := dialer().Dial(t.Context(), x.Target("n1")); !errors.Is(err, bmc.ErrBusy) {
		t.Errorf("second session of one: %v, want busy", err)
	}
	time.AfterFunc(300*time.Millisecond, x.Forget)
	second, err := dialer().Dial(t.Context(), x.Target("n1"))
	if err != nil {
		t.Fatalf("second session when the first lapses: %v", err)
	}
	_ = second.Close()
	x.Forget()
	if _, err := c.State(t.Context()); err != nil {
		t.Errorf("after the service forgot the session: %v", err)
	}
	x.Busy(2)
	if _, err := c.State(t.Context()); err != nil {
		t.Errorf("of a busy service: %v", err)
	}
}

func TestPinning(t *testing.T) {
	d := dialer()
	x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
	for range 2 {
		c, err := d.Dial(t.Context(), x.Target("n1"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	other := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{}) // another certificate
	_, err := d.Dial(t.Context(), other.Target("n1"))
	if !errors.Is(err, bmc.ErrPin) {
		t.Errorf("another certificate: %v, want %v", err, bmc.ErrPin)
	}
	if reqs := other.Requests(); len(reqs) != 0 {
		t.Errorf("requests went out to a service that is not trusted: %q", reqs)
	}
}

func TestInventory(t *testing.T) {
	c := connect(t, bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{}).Target("n1"))
	v, err := c.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const want = `BMC Firmware: 2.71 (Played BMC)
BIOS Version: U30 v2.1
System Manufacturer: Margay Works
UUID/GUID: 11111111-2222-3333-4444-555555555555
System Description: Played Server
System Model/MTM: 7914AC1
System Serial Number: SN0002
System Asset Number: A-17
Chassis Serial Number: CHS2
Chassis Part Number: CH-2
MAC Address NIC1: 52:54:00:00:00:01
MAC Address NIC2: 52:54:00:00:00:02
CPU 1: Xeon, 16 cores
DIMM A1: 32768 MB DDR4 Mem M32
DIMM A2: Not Present
PCI 1: Nic Ethernet Adapter X710
Disk 1: 480 GB SSD SSD9 D1
`
	if got := bmctest.Text(v.Lines()); got != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
}

func TestVitals(t *testing.T) {
	c := connect(t, bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{}).Target("n1"))
	sensors, err := c.Vitals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []bmc.Line
	for _, s := range sensors {
		lines = append(lines, s.Line())
	}
	const want = `Power Status: off
Identify LED: off
CPU 1 Temp: 41 C (106 F)
Inlet Temp: 50 C (122 F)         (At or above upper non-critical threshold)
DIMM Temp: N/A
Fan 1: 4200 RPM
Fan 2: 30 %                 (Warning)
Planar 12V: 12.1 Volts
System Power: 77 Watts (263 BTUs/hr)
`
	if got := bmctest.Text(lines); got != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
	fans, err := c.Vitals(t.Context(), "fanspeed")
	if err != nil || len(fans) != 2 {
		t.Errorf("fanspeed: %+v, %v", fans, err)
	}
}

func TestEvents(t *testing.T) {
	x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
	c := connect(t, x.Target("n1"))
	at := time.Date(2024, 3, 9, 13, 5, 7, 0, time.UTC)
	x.AddEvent(at, "first")
	x.AddEvent(at.Add(time.Minute), "second")
	got, err := c.Events(t.Context(), 1)
	if err != nil || len(got) != 1 || got[0].String() != "03/09/2024 13:06:07 second" {
		t.Errorf("newest: %v, %v", got, err)
	}
	if err := c.ClearEvents(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := c.Events(t.Context(), 0); err != nil || len(got) != 0 {
		t.Errorf("after clear: %v, %v", got, err)
	}
}

func TestBeaconAndMACs(t *testing.T) {
	h := &bmctest.Host{}
	c := connect(t, bmctest.StartRedfish(t, h, bmctest.RedfishConfig{NeedETag: true}).Target("n1"))
	for _, on := range []bool{true, false} {
		if err := c.Beacon(t.Context(), on); err != nil || h.Beacon() != on {
			t.Errorf("beacon %v: %v, light is %v", on, err, h.Beacon())
		}
	}
	macs, err := c.MACs(t.Context())
	if err != nil || len(macs) != 2 || macs[1].Addr.String() != "52:54:00:00:00:02" {
		t.Errorf("%v, %v", macs, err)
	}
}

func TestMedia(t *testing.T) {
	for _, config := range []bmctest.RedfishConfig{{}, {Vendor: "HPE"}, {NoInsert: true}} {
		h := &bmctest.Host{}
		c := connect(t, bmctest.StartRedfish(t, h, config).Target("n1"))
		for _, url := range []string{"http://10.0.0.1/a.iso", "http://10.0.0.1/b.iso"} { // the second in place of the first
			if err := c.InsertMedia(t.Context(), url); err != nil || h.Media() != url {
				t.Errorf("%+v: insert %s: %v, drive has %q", config, url, err, h.Media())
			}
			if got, err := c.Media(t.Context()); err != nil || got != url {
				t.Errorf("%+v: reads back %q, %v", config, got, err)
			}
		}
		for range 2 {
			if err := c.EjectMedia(t.Context()); err != nil || h.Media() != "" {
				t.Errorf("%+v: eject: %v, drive has %q", config, err, h.Media())
			}
			if got, err := c.Media(t.Context()); err != nil || got != "" {
				t.Errorf("%+v: reads %q after eject, %v", config, got, err)
			}
		}
		if err := c.InsertMedia(t.Context(), "file:///etc/passwd"); err == nil {
			t.Error("a file was taken for an image")
		}
	}
}

func TestNet(t *testing.T) {
	x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
	c := connect(t, x.Target("n1"))
	n, err := c.Net(t.Context())
	if err != nil || n.Address.String() != "10.0.0.10" || n.Gateway.String() != "10.0.0.1" || n.DHCP || n.VLAN != 0 || n.Host != "bmc1" {
		t.Errorf("%+v, %v", n, err)
	}
	addr, vlan, host := netip.MustParseAddr("10.0.0.50"), 7, "bmc50"
	if err := c.SetNet(t.Context(), bmc.NetChange{Address: &addr, VLAN: &vlan, Host: &host}); err != nil {
		t.Fatal(err)
	}
	n, err = c.Net(t.Context())
	if err != nil || n.Address != addr || n.Netmask.String() != "255.0.0.0" || n.VLAN != 7 || n.Host != "bmc50" {
		t.Errorf("after the change: %+v, %v", n, err)
	}
}

func TestSetPassword(t *testing.T) {
	x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
	c := connect(t, x.Target("n1"))
	err := c.SetPassword(t.Context(), "admin", "pw9")
	if err == nil || strings.Contains(err.Error(), "pw9") {
		t.Errorf("too short a password: %v; want an error without it", err)
	}
	if err := c.SetPassword(t.Context(), "admin", "longer-one"); err != nil {
		t.Error(err)
	}
	if err := c.SetPassword(t.Context(), "nobody", "longer-one"); !errors.Is(err, bmc.ErrUser) {
		t.Errorf("unknown user: %v", err)
	}
	connect(t, x.Target("n1")) // with the new one
}

func TestDead(t *testing.T) {
	x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
	target := x.Target("n1")
	target.Timeout, target.Retries = 100*time.Millisecond, 1
	x.Before(x.Stalled)
	deadline := time.AfterFunc(time.Minute, func() { panic("a stalled service holds us up") })
	defer deadline.Stop()
	ctx := t.Context()
	for r := range bmc.Each(ctx, bmc.Limits{Budget: 300 * time.Millisecond}, []bmc.Target{target}, dialer().Dial) {
		if !errors.Is(r.Err, bmc.ErrTimeout) {
			t.Errorf("stalled: %v, want timeout", r.Err)
		}
	}
}

// TestHostile has services that would lead us astray.
func TestHostile(t *testing.T) {
	const system = "/redfish/v1/Systems/1"
	reply := func(w http.ResponseWriter, body string) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
		return true
	}
	tests := []struct {
		name string
		at   string
		do   func(w http.ResponseWriter, r *http.Request) bool
	}{
		{"link to another host", "/redfish/v1/Systems", func(w http.ResponseWriter, _ *http.Request) bool {
			return reply(w, `{"Members":[{"@odata.id":"@evil.example/redfish/v1/Systems/1"}]}`)
		}},
		{"link by authority", "/redfish/v1/Systems", func(w http.ResponseWriter, _ *http.Request) bool {
			return reply(w, `{"Members":[{"@odata.id":"//evil.example/x"}]}`)
		}},
		{"redirect", "/redfish/v1/Systems", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://evil.example/x", http.StatusTemporaryRedirect)
			return true
		}},
		{"redirect to itself", "/redfish/v1/Systems", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}},
		{"no JSON", system, func(w http.ResponseWriter, _ *http.Request) bool { return reply(w, `<html>`) }},
		{"other JSON", system, func(w http.ResponseWriter, _ *http.Request) bool { return reply(w, `[1,2]`) }},
		{"no end", system, func(w http.ResponseWriter, r *http.Request) bool {
			junk := []byte(`{"Name":"` + strings.Repeat("x", 1<<16))
			for {
				if _, err := w.Write(junk); err != nil {
					return true
				}
				junk = junk[9:]
				junk = append(junk, "xxxxxxxxx"...)
			}
		}},
		{"no systems", "/redfish/v1/Systems", func(w http.ResponseWriter, _ *http.Request) bool { return reply(w, `{"Members":[]}`) }},
		{"many systems", "/redfish/v1/Systems", func(w http.ResponseWriter, _ *http.Request) bool {
			return reply(w, `{"Members":[{"@odata.id":"/a"},{"@odata.id":"/b"}]}`)
		}},
		{"error page", system, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusInternalServerError)
			return reply(w, `<html><body>secret</body></html>`)
		}},
	}
	for _, tt := range tests {
		x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
		x.Before(func(w http.ResponseWriter, r *http.Request) bool { return r.URL.Path == tt.at && tt.do(w, r) })
		c, err := dialer().Dial(t.Context(), x.Target("n1"))
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			_ = c.Close()
			continue
		}
		if strings.Contains(err.Error(), "secret") || len(err.Error()) > 600 {
			t.Errorf("%s: %v", tt.name, err)
		}
		if x.Sessions() != 0 {
			t.Errorf("%s: a session is left behind", tt.name)
		}
	}
}

// TestAstray has a service send us to another one: it may get no request, for
// requests carry the way in.
func TestAstray(t *testing.T) {
	other := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
	elsewhere := "https://" + other.Addr.String() + "/redfish/v1/Systems"
	for _, send := range []func(w http.ResponseWriter, r *http.Request){
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		},
		func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"Members":[{"@odata.id":"@` + other.Addr.String() + `/redfish/v1/Systems/1"}]}`))
		},
		func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"Members":[{"@odata.id":"` + elsewhere + `/1"}]}`))
		},
	} {
		x := bmctest.StartRedfish(t, nil, bmctest.RedfishConfig{})
		x.Before(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/redfish/v1/Systems" {
				return false
			}
			send(w, r)
			return true
		})
		if c, err := dialer().Dial(t.Context(), x.Target("n1")); err == nil {
			_ = c.Close()
			t.Error("no error")
		}
	}
	if reqs := other.Requests(); len(reqs) != 0 {
		t.Errorf("the other service got %q", reqs)
	}
}

func TestVendors(t *testing.T) {
	tests := []struct{ vendor, manufacturer, oem, want string }{
		{"HPE", "", "", "HPE iLO"},
		{"", "Dell Inc.", "", "Dell iDRAC"},
		{"", "", "Hpe", "HPE iLO"},
		{"", "Super Micro Computer, Inc.", "", "Supermicro"},
		{"", "Lenovo", "", "Lenovo XCC"},
		{"", "Hpcompute", "", "standard"},
		{"", "Chp", "", "standard"},
		{"OpenBMC", "", "", "OpenBMC"},
	}
	for _, tt := range tests {
		r := root{Vendor: tt.vendor}
		if tt.oem != "" {
			r.OEM = map[string]any{tt.oem: nil}
		}
		if got := vendorOf(r, tt.manufacturer).name; got != tt.want {
			t.Errorf("%q %q %q: %s, want %s", tt.vendor, tt.manufacturer, tt.oem, got, tt.want)
		}
	}
}
