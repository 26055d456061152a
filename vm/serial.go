package vm

import (
	"context"
	"fmt"
	"strings"
)

// SerialConsole is what vm.textconsole says of a guest whose serial port ends
// with us.
const SerialConsole = "serial"

// A SerialPort is a guest's serial port that goes to the network: its host
// connects to a concentrator and says whose it is.
type SerialPort struct {
	Key   int32
	Label string // "Serial port 1"
	URI   string // the port's own address; ours are named like the guest
	Proxy string // of the concentrator: telnet://10.1.0.1:13370
}

// firstSerial is the key of a guest's first serial port; ESXi counts on from
// it.
const firstSerial = 9000

// maxSerials is how many serial ports a guest may have before hardware version
// 11, which raised it to 32.
const maxSerials = 4

// serialKeys are what a .vmx has of a serial port that goes to the network.
func serialKeys() []string {
	return []string{"present", "fileType", "fileName", "network.endPoint", "vspc", "yieldOnMsrRead", "startConnected", "tryNoRxLoss"}
}

// Serials are the guest's serial ports that go to the network: those that its
// host tells of, else those that its .vmx has.
func (s *Spec) Serials() []SerialPort {
	if len(s.Serial) > 0 {
		return s.Serial
	}
	var out []SerialPort
	for n := range maxSerials {
		get := func(key string) string {
			v, _ := s.Setting(fmt.Sprintf("serial%d.%s", n, key))
			return v
		}
		if strings.EqualFold(get("present"), "TRUE") && strings.EqualFold(get("fileType"), "network") {
			out = append(out, SerialPort{Key: firstSerial + int32(n), Label: fmt.Sprintf("Serial port %d", n+1), URI: get("fileName"), Proxy: get("vspc")})
		}
	}
	return out
}

// SerialSettings are the .vmx keys that do what a change does to serial ports,
// for backends that write such files.
func (c *Change) SerialSettings() []Setting {
	var out []Setting
	for _, p := range c.RemoveSerial {
		for _, key := range serialKeys() {
			out = append(out, Setting{fmt.Sprintf("serial%d.%s", p.Key-firstSerial, key), ""})
		}
	}
	p := c.AddSerial
	if p == nil {
		return out
	}
	n := p.Key - firstSerial
	for _, s := range []Setting{
		{"present", "TRUE"}, {"fileType", "network"}, {"fileName", p.URI}, {"network.endPoint", "server"},
		{"vspc", p.Proxy}, {"yieldOnMsrRead", "TRUE"}, {"startConnected", "TRUE"},
	} {
		out = append(out, Setting{fmt.Sprintf("serial%d.%s", n, s.Key), s.Value})
	}
	return out
}

// serial plans chvm --serial: one port that ends with us, or none.
func (p *planner) serial(req ChangeRequest) error {
	var ours []SerialPort
	taken := map[int32]bool{}
	for _, s := range p.spec.Serials() {
		taken[s.Key] = true
		if s.URI == p.g.Name {
			ours = append(ours, s)
		}
	}
	switch req.Serial {
	case "":
		return nil
	case "off":
	case "on":
		if len(ours) == 1 && ours[0].Proxy == req.proxy {
			return nil
		}
	default:
		return Errorf(ErrInvalid, "--serial %s: on or off", req.Serial)
	}
	if p.running() && (req.Serial == "on" || len(ours) > 0) {
		return needsOff("changing a serial port")
	}
	p.c.RemoveSerial = ours
	for _, s := range ours {
		delete(taken, s.Key)
	}
	if req.Serial == "off" {
		return nil
	}
	for n := range int32(maxSerials) {
		if !taken[firstSerial+n] {
			p.c.AddSerial = &SerialPort{Key: firstSerial + n, Label: fmt.Sprintf("Serial port %d", n+1), URI: p.g.Name, Proxy: req.proxy}
			return nil
		}
	}
	return Errorf(ErrInvalid, "the guest has %d serial ports; there is room for no more", maxSerials)
}

// serial finds out where the guest's host reaches our concentrator.
func (ch *changer) serial(_ context.Context, g *Guest, v VM) error {
	if ch.req.Serial != "on" {
		return nil
	}
	if ch.req.SerialProxy == nil {
		return Errorf(ErrUnsupported, "this server takes no serial lines")
	}
	host := g.Host
	if n := hostNode(ch.snap, v.Host); n != nil {
		host = n.Name
	}
	e, err := HostEndpoint(ch.snap, host)
	if err != nil {
		return err
	}
	ch.req.proxy, err = ch.req.SerialProxy(e.Host)
	return err
}

// A Firewaller opens hosts' firewalls.
type Firewaller interface {
	// LetOut turns on a ruleset of connections that the host makes.
	LetOut(ctx context.Context, host, ruleset string) error
}

// letOut opens the host's firewall for a new serial line. That it cannot is no
// failure of the change, but must be known.
func (ch *changer) letOut(ctx context.Context, v VM, c *Change) string {
	if c.AddSerial == nil {
		return ""
	}
	err := ErrUnsupported
	if f, ok := ch.hv.(Firewaller); ok {
		err = f.LetOut(ctx, v.Host, "remoteSerialPort")
	}
	if err != nil {
		return fmt.Sprintf("the host's firewall could not be opened for serial ports (%v); turn on its ruleset remoteSerialPort", err)
	}
	return ""
}

// LetOut turns on a ruleset.
func (h *hybrid) LetOut(ctx context.Context, host, ruleset string) error {
	return h.do(ctx, func(hv Hypervisor) error {
		f, ok := hv.(Firewaller)
		if !ok {
			return ErrUnsupported
		}
		return f.LetOut(ctx, host, ruleset)
	})
}
