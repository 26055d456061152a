package bmctest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"margay/provision/bmc"

	played "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"
)

// IPMIConfig is how a played IPMI controller is set up. The zero value takes
// user "admin" with password "secret" as administrator on a port of its own.
type IPMIConfig struct {
	Listen    string // "127.0.0.1:0"
	User      string
	Password  string
	Privilege uint8 // 2 user, 3 operator, 4 administrator
	Ciphers   []int // 17 and 3
	Sessions  int   // how many at a time
	GUID      [16]byte
	Console   func(ctx context.Context) (net.Conn, error) // the serial port
	Latency   time.Duration                               // before each answer
}

// An IPMI is a controller that speaks RMCP+.
type IPMI struct {
	Host *Host
	Addr *net.UDPAddr
	BMC  *played.BMC
	*extras

	cancel context.CancelFunc
	server *server.Server
	done   chan struct{}
}

// NewIPMI starts a controller in front of a host. The caller closes it.
func NewIPMI(h *Host, c IPMIConfig) (*IPMI, error) {
	c.fill()
	addr, err := net.ResolveUDPAddr("udp", c.Listen)
	if err != nil {
		return nil, err
	}
	sock, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	x := &IPMI{Host: h, Addr: sock.LocalAddr().(*net.UDPAddr), extras: newExtras(), done: make(chan struct{})} //nolint:forcetypeassert // a UDP socket has no other
	b, err := newPlayed(x, c)
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	x.BMC = b
	registry := handlers.NewRegistry()
	x.register(registry, c.GUID)
	x.server = server.NewServer(b, &slowConn{Conn: udp.Wrap(sock, udp.WithReadTimeout(0)), latency: c.Latency}, server.WithHandlerRegistry(registry))
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	go func() {
		defer close(x.done)
		_ = x.server.Serve(ctx)
	}()
	return x, nil
}

func (c *IPMIConfig) fill() {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.User == "" {
		c.User = "admin"
	}
	if c.Password == "" {
		c.Password = "secret"
	}
	if c.Privilege == 0 {
		c.Privilege = 4
	}
	if len(c.Ciphers) == 0 {
		c.Ciphers = []int{3, 17}
	}
	if c.GUID == ([16]byte{}) {
		c.GUID = [16]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x46, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	}
}

func newPlayed(x *IPMI, c IPMIConfig) (*played.BMC, error) {
	m := mock.New()
	var ids []types.CipherSuiteID
	for _, id := range c.Ciphers {
		ids = append(ids, types.CipherSuiteID(id)) //nolint:gosec // small
	}
	info := played.DeviceInfo{DeviceID: 32, FirmwareMajor: 1, FirmwareMinor: 0x10, IPMIVersion: 0x20, ManufacturerID: 20301, ProductID: 0x1234, AdditionalDeviceSupport: 0x9f}
	h := &face{HAL: m, x: x}
	if c.Console != nil {
		h.console = consoleHAL(c.Console)
	}
	b := played.New(info, c.GUID, h, played.WithClock(clock.Real), played.WithCipherSuites(ids))
	if c.Sessions > 0 {
		b.Sessions = played.NewSessionStoreWithOptions(clock.Real, played.WithMaxSessions(c.Sessions))
	}
	u, err := b.Users.Add(2, c.User)
	if err != nil {
		return nil, err
	}
	u.SetPassword([]byte(c.Password))
	u.Enabled = true
	u.ChannelAccess = map[uint8]played.UserChannelAccess{1: {MaxPrivilege: played.PrivilegeLevel(c.Privilege), Enabled: true}}
	return b, x.store(m)
}

// Target is the controller as a client finds it.
func (x *IPMI) Target(node string) bmc.Target {
	u, _ := x.BMC.Users.Get(2)
	return bmc.Target{Node: node, Kind: bmc.IPMI, Address: x.Addr.IP.String(), Port: x.Addr.Port, User: u.Name, Password: bmc.Secret(trimZero(u.Password[:]))}
}

func trimZero(b []byte) string {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return string(b)
}

// Close stops the controller. Whoever talks to it finds silence.
func (x *IPMI) Close() {
	x.cancel()
	_ = x.server.Close()
	<-x.done
}

// Sessions is how many sessions stand or are being set up.
func (x *IPMI) Sessions() int { return x.BMC.Sessions.Count() }

// slowConn answers late, as a controller does.
type slowConn struct {
	*udp.Conn
	latency time.Duration
}

func (s *slowConn) WriteTo(b []byte, a net.Addr) (int, error) {
	if s.latency <= 0 {
		return s.Conn.WriteTo(b, a)
	}
	b = append([]byte(nil), b...)
	time.AfterFunc(s.latency, func() { _, _ = s.Conn.WriteTo(b, a) })
	return len(b), nil
}

// face shows the host to the library's server.
type face struct {
	*mock.HAL
	x       *IPMI
	console hal.ConsoleHAL
}

func (f *face) Chassis() hal.ChassisHAL { return chassisHAL{f.HAL.Chassis(), f.x.Host} }

func (f *face) Console() hal.ConsoleHAL {
	if f.console == nil {
		return nil
	}
	return f.console
}

type chassisHAL struct {
	hal.ChassisHAL
	h *Host
}

func (c chassisHAL) PowerState(context.Context) (bool, error)  { return c.h.On(), nil }
func (c chassisHAL) SetPower(_ context.Context, on bool) error { return c.h.SetPower(on) }
func (c chassisHAL) WarmReset(context.Context) error           { c.h.Note("softoff"); return c.h.SetPower(false) }
func (c chassisHAL) Identify(_ context.Context, s uint8) error { c.h.setBeacon(s != 0); return nil }
func (c chassisHAL) PowerCycle(context.Context) error          { return c.restart("cycle") }
func (c chassisHAL) ColdReset(context.Context) error           { return c.restart("reset") }
func (c chassisHAL) restart(name string) error {
	if !c.h.On() {
		return errors.New("machine is off") // becomes a refusal
	}
	return c.h.Restart(name)
}

var codes = map[bmc.Device]types.BootDeviceSelector{
	bmc.Default: 0, bmc.Network: types.BootDeviceSelectorForcePXE, bmc.HardDisk: 2, bmc.CD: 5, bmc.Setup: 6, bmc.Floppy: 15,
}

func (c chassisHAL) SetBootFlags(_ context.Context, f *types.BootOptionParam_BootFlags) error {
	b := bmc.Boot{UEFI: bool(f.BIOSBootType), Persistent: f.Persist}
	for d, code := range codes {
		if code == f.BootDeviceSelector {
			b.Device = d
		}
	}
	if b.Device == "" {
		return fmt.Errorf("no device %d", f.BootDeviceSelector)
	}
	if !f.BootFlagsValid {
		b = bmc.Boot{}
	}
	c.h.setBoot(b)
	return nil
}

func (c chassisHAL) GetBootFlags(context.Context) (*types.BootOptionParam_BootFlags, error) {
	b := c.h.Boot()
	return &types.BootOptionParam_BootFlags{
		BootFlagsValid: b.Device != bmc.NoOverride, Persist: b.Persistent, BIOSBootType: types.BIOSBootType(b.UEFI), BootDeviceSelector: codes[b.Device],
	}, nil
}
