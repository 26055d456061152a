package ipmi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/nodedb"
	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"

	"github.com/bougou/go-ipmi/pkg/types"
)

// The tests of this file meet peers that are not ours, from Debian's packages
// openipmi, python3-pyghmi, ipmitool and freeipmi-tools. They are skipped where
// a peer is missing, unless MARGAY_TEST_REAL is set.

func program(t *testing.T, name, from string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/bin") {
		if path := filepath.Join(dir, name); exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		t.Fatalf("%s is missing; install Debian's package %s", name, from)
	}
	t.Skipf("%s is missing (Debian's package %s)", name, from)
	return ""
}

// background runs a program until the test ends.
func background(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, out.String())
		}
	})
}

// freePort is a port of loopback that is free, and none of those that the kernel
// gives to whoever does not care: it stays free until it is taken.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(6000)
		if c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err == nil {
			_ = c.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// reach waits until a peer answers.
func reach(t *testing.T, target bmc.Target) *Controller {
	t.Helper()
	knock := target
	knock.Timeout, knock.Retries = 500*time.Millisecond, 1
	eventually(t, target.Node+" answers", func() bool {
		c, err := Dial(t.Context(), knock)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	target.Timeout = 10 * time.Second // it runs programs for what it is told
	c, err := Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const simConfig = `name "margay"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %d
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "%s 0x20"
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "admin" "secret" admin 10 none md2 md5 straight
  user 3 true "looker" "secret" user 10 none md2 md5 straight
`

const simChassis = `#!/bin/sh
state=%s
shift
op=$1; shift
while [ $# -gt 0 ]; do
  case $op-$1 in
  get-power) echo "power:$(cat $state.power 2>/dev/null || echo 0)";;
  get-boot) echo "boot:$(cat $state.boot 2>/dev/null || echo default)";;
  set-power) echo $2 >$state.power; shift;;
  set-boot) echo $2 >$state.boot; shift;;
  set-*) echo "$1 $2" >>$state.log; shift;;
  *) exit 1;;
  esac
  shift
done
`

// sim starts OpenIPMI's simulator with a machine of files behind it.
func sim(t *testing.T) bmc.Target {
	t.Helper()
	path := program(t, "ipmi_sim", "openipmi")
	dir, port := t.TempDir(), freePort(t)
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil { //nolint:gosec // a script
			t.Fatal(err)
		}
		return file
	}
	chassis := write("chassis.sh", fmt.Sprintf(simChassis, filepath.Join(dir, "state")))
	lan := write("lan.conf", fmt.Sprintf(simConfig, port, chassis))
	sensor := types.SDRFull{
		GeneratorID: 0x20, SensorNumber: 1, SensorEntityID: 3, SensorType: 1, SensorEventReadingType: types.EventReadingTypeThreshold,
		SensorUnit: types.SensorUnit{BaseUnit: types.SensorUnitType_DegreesC}, ReadingFactors: types.ReadingFactors{M: 1},
		IDStringTypeLength: 0xc0 | 7, IDStringBytes: []byte("DJTemp1"),
	}
	var record strings.Builder
	for _, b := range sensor.Pack(1) {
		fmt.Fprintf(&record, " 0x%02x", b)
	}
	fru, err := types.PackFRU(types.FRUPackConfig{Product: &types.FRUPackProduct{Manufacturer: "Open", Name: "Sim", PartModel: "S1", Version: "1", Serial: "SER9"}})
	if err != nil {
		t.Fatal(err)
	}
	var label strings.Builder
	for _, b := range fru {
		fmt.Fprintf(&label, " 0x%02x", b)
	}
	emu := write("sim.emu", fmt.Sprintf(`mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 1 1 1
sensor_set_value 0x20 0 1 0x60 0
sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111111111 000111111111111 000111111111111 000111111111111
main_sdr_add 0x20%s
mc_add_fru_data 0x20 0 %d data%s
mc_enable 0x20
`, record.String(), len(fru), label.String()))
	background(t, path, "-n", "-c", lan, "-f", emu, "-s", dir)
	return bmc.Target{Node: "sim", Kind: bmc.IPMI, Address: "127.0.0.1", Port: port, User: "admin", Password: "secret"}
}

func TestRealIPMISim(t *testing.T) {
	target := sim(t)
	c := reach(t, target)
	for _, tt := range []struct {
		action bmc.Action
		word   string
	}{{bmc.Stat, "off"}, {bmc.On, "on"}, {bmc.Stat, "on"}, {bmc.Reset, "reset"}, {bmc.BootUp, "reset"}, {bmc.Off, "off"}, {bmc.Reset, "off"}, {bmc.BootUp, "on"}} {
		if word, err := bmc.Power(t.Context(), c, tt.action, 0); err != nil || word != tt.word {
			t.Errorf("%s: %q, %v; want %q", tt.action, word, err, tt.word)
		}
	}
	// The simulator keeps the device and not that it is valid.
	if b, notes, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.Network}); err != nil || b.Device != bmc.Network || len(notes) != 1 {
		t.Errorf("boot: %+v %q %v", b, notes, err)
	}
	v, err := c.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"BMC Firmware: 9.08", "System Description: Sim", "System Serial Number: SER9", "UUID/GUID: "} {
		if !strings.Contains(bmctest.Text(v.Lines()), want) {
			t.Errorf("inventory lacks %q:\n%s", want, bmctest.Text(v.Lines()))
		}
	}
	sensors, err := c.Vitals(t.Context(), "temp")
	if err != nil || len(sensors) != 1 || sensors[0].Line() != (bmc.Line{Label: "DJTemp1", Value: "96 C (205 F)"}) {
		t.Errorf("vitals: %+v, %v", sensors, err)
	}
	if events, err := c.Events(t.Context(), 0); err != nil || len(events) != 0 {
		t.Errorf("events: %v, %v", events, err)
	}
	if err := c.ClearEvents(t.Context()); err != nil {
		t.Errorf("clear: %v", err)
	}
}

func TestRealIPMISimLogin(t *testing.T) {
	target := sim(t)
	reach(t, target)
	for _, tt := range []struct {
		user, password string
		want           error
	}{{"admin", "wrong", bmc.ErrPassword}, {"nobody", "secret", bmc.ErrUser}} {
		target.User, target.Password = tt.user, bmc.Secret(tt.password)
		if _, err := Dial(t.Context(), target); !errors.Is(err, tt.want) {
			t.Errorf("%s/%s: %v, want %v", tt.user, tt.password, err, tt.want)
		}
	}
	target.User, target.Password = "looker", "secret"
	c := connect(t, target)
	if s, err := c.State(t.Context()); err != nil || s != nodedb.PowerOff {
		t.Errorf("a user's stat: %v, %v", s, err)
	}
}

const pyghmi = `
import sys
import pyghmi.ipmi.bmc as bmc
class B(bmc.Bmc):
    power = 'off'
    boot = 'default'
    def get_power_state(self): return self.power
    def power_on(self): self.power = 'on'
    def power_off(self): self.power = 'off'
    def power_reset(self): pass
    def power_shutdown(self): self.power = 'off'
    def power_cycle(self): pass
    def get_boot_device(self): return self.boot
    def set_boot_device(self, d): self.boot = d
    def cold_reset(self): pass
B({'admin': 'secret'}, port=int(sys.argv[1]), address='127.0.0.1').listen()
`

func TestRealPyghmi(t *testing.T) {
	python := program(t, "python3", "python3-pyghmi")
	if exec.Command("/usr/bin/python3", "-c", "import pyghmi").Run() == nil {
		python = "/usr/bin/python3" // another python may come first in PATH
	} else if os.Getenv("MARGAY_TEST_REAL") == "" {
		t.Skip("pyghmi is missing (Debian's package python3-pyghmi)")
	}
	script := filepath.Join(t.TempDir(), "bmc.py")
	if err := os.WriteFile(script, []byte(pyghmi), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	background(t, python, script, fmt.Sprint(port))
	c := reach(t, bmc.Target{Node: "py", Address: "127.0.0.1", Port: port, User: "admin", Password: "secret"})
	for _, tt := range []struct {
		action bmc.Action
		word   string
	}{{bmc.Stat, "off"}, {bmc.On, "on"}, {bmc.On, "on"}, {bmc.Reset, "reset"}, {bmc.Off, "off"}} {
		if word, err := bmc.Power(t.Context(), c, tt.action, 0); err != nil || word != tt.word {
			t.Errorf("%s: %q, %v; want %q", tt.action, word, err, tt.word)
		}
	}
	if b, _, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.Network}); err != nil || b.Device != bmc.Network {
		t.Errorf("boot: %+v, %v", b, err)
	}
	v, err := c.Inventory(t.Context(), "firm", "deviceid")
	if err != nil || v.BMCFirmware == "" {
		t.Errorf("inventory: %+v, %v", v, err)
	}
}

// run runs an independent client and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestRealIpmitool has ipmitool speak to the controller that bmctest plays,
// for what is proved against a stand-in is worth what the stand-in is.
func TestRealIpmitool(t *testing.T) {
	tool := program(t, "ipmitool", "ipmitool")
	h := &bmctest.Host{}
	x := bmctest.StartIPMI(t, h, bmctest.IPMIConfig{})
	for _, cipher := range []string{"3", "17"} {
		base := []string{"-I", "lanplus", "-C", cipher, "-H", "127.0.0.1", "-p", fmt.Sprint(x.Addr.Port), "-U", "admin", "-P", "secret"}
		for _, tt := range []struct{ args, want string }{
			{"power on", "Up/On"}, {"power status", "is on"},
			{"chassis bootdev pxe", "Set Boot Device to pxe"}, {"chassis bootparam get 5", "Force PXE"},
			{"sdr", "CPU 1 Temp"}, {"fru print 0", "SN0001"}, {"sel list", "SEL has no entries"}, {"lan print 1", "10.0.0.9"}, {"power off", "Down/Off"},
		} {
			out := run(t, tool, append(base, strings.Fields(tt.args)...)...)
			if !strings.Contains(out, tt.want) {
				t.Errorf("ipmitool %s with suite %s: %q lacks %q", tt.args, cipher, out, tt.want)
			}
		}
	}
	if h.On() {
		t.Error("the machine is on after power off")
	}
}

func TestRealFreeIPMI(t *testing.T) {
	tool := program(t, "ipmipower", "freeipmi-tools")
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
	base := []string{"-D", "LAN_2_0", "-I", "3", "-h", fmt.Sprintf("127.0.0.1:%d", x.Addr.Port), "-u", "admin", "-p", "secret"}
	for _, tt := range []struct{ arg, want string }{{"--on", "ok"}, {"--stat", "on"}, {"--off", "ok"}, {"--stat", "off"}} {
		if out := run(t, tool, append(base, tt.arg)...); !strings.Contains(out, ": "+tt.want) {
			t.Errorf("ipmipower %s: %q lacks %q", tt.arg, out, tt.want)
		}
	}
}
