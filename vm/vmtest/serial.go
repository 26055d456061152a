package vmtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A SerialPort is the end of a guest's serial line that a host plays: telnet
// with VMware's option 232.
type SerialPort struct {
	net.Conn
	r *bufio.Reader

	Name, UUID, URI string
}

// CallSerial connects to a concentrator as the host of a guest does, and
// returns when the line is taken. peer is what GoAhead returned on the line of
// the host that the guest comes from; nil: the guest has just started.
func CallSerial(addr, name, uuid, uri string, peer []byte) (*SerialPort, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &SerialPort{Conn: nc, r: bufio.NewReader(nc), Name: name, UUID: uuid, URI: uri}
	// Every host speaks first, of its option and what it knows of it.
	p.raw(255, 251, 232)
	if err := p.until(func(verb byte, body []byte) bool { return verb == 253 && body[0] == 232 }); err != nil {
		nc.Close()
		return nil, err
	}
	p.sub(0, []byte{0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 82, 83, 84, 85, 86, 87}...)
	if peer != nil {
		p.sub(44, peer...)
		err = p.until(func(verb byte, body []byte) bool { return verb == 250 && body[1] == 45 })
	} else {
		p.sub(70, append([]byte("S"), uri...)...)
		err = p.until(func(verb byte, body []byte) bool { return verb == 250 && body[1] == 71 })
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return p, nil
}

func (p *SerialPort) raw(b ...byte) { p.Conn.Write(b) }

func (p *SerialPort) sub(code byte, data ...byte) {
	out := []byte{255, 250, 232, code}
	for _, b := range data {
		out = append(out, b)
		if b == 255 {
			out = append(out, b)
		}
	}
	p.raw(append(out, 255, 240)...)
}

// Say is what the guest prints.
func (p *SerialPort) Say(text string) {
	p.raw(bytes.ReplaceAll([]byte(text), []byte{255}, []byte{255, 255})...)
}

// BeginMove says that the guest is about to move, and returns what its new
// host has to say.
func (p *SerialPort) BeginMove() ([]byte, error) {
	p.sub(40, 0, 0, 1, 255)
	var out []byte
	err := p.until(func(verb byte, body []byte) bool {
		if verb == 250 && body[1] == 41 {
			out = body[2:]
		}
		return out != nil
	})
	return out, err
}

// EndMove says that the guest has come to this host.
func (p *SerialPort) EndMove() { p.sub(46, 0, 0, 1, 255) }

// until reads telnet until done says so; what is asked meanwhile is answered.
func (p *SerialPort) until(done func(verb byte, body []byte) bool) error {
	for {
		verb, body, err := p.next()
		if err != nil {
			return err
		}
		if verb != 0 && done(verb, body) {
			return nil
		}
	}
}

// next reads a byte of data (verb 0), or a sentence of telnet's.
func (p *SerialPort) next() (verb byte, body []byte, err error) {
	b, err := p.r.ReadByte()
	if err != nil || b != 255 {
		return 0, []byte{b}, err
	}
	if verb, err = p.r.ReadByte(); err != nil || verb == 255 {
		return 0, []byte{255}, err
	}
	switch verb {
	case 251, 252, 253, 254:
		opt, err := p.r.ReadByte()
		return verb, []byte{opt}, err
	case 250:
		for {
			b, err := p.r.ReadByte()
			if err != nil {
				return 0, nil, err
			}
			if b == 255 {
				if b, err = p.r.ReadByte(); err != nil {
					return 0, nil, err
				}
				if b == 240 {
					break
				}
			}
			body = append(body, b)
		}
		if len(body) < 2 || body[0] != 232 {
			return 0, nil, errors.New("the concentrator speaks of an option that nobody offered")
		}
		switch body[1] {
		case 81:
			p.sub(80, []byte(p.UUID)...)
		case 83:
			p.sub(82, []byte(p.Name)...)
		case 73:
			return 0, nil, errors.New("the concentrator does not take the line")
		}
		return verb, body, nil
	}
	return verb, nil, nil
}

// ReadKey reads one key that was typed.
func (p *SerialPort) ReadKey() (byte, error) {
	for {
		verb, body, err := p.next()
		if err != nil {
			return 0, err
		}
		if verb == 0 {
			return body[0], nil
		}
	}
}

// serialOf is the address of the concentrator of a guest's serial port, and
// the port's own; "" if it has none that calls one.
func serialOf(cfg *types.VirtualMachineConfigInfo) (addr, uri string) {
	for _, d := range cfg.Hardware.Device {
		s, ok := d.(*types.VirtualSerialPort)
		if !ok {
			continue
		}
		b, ok := s.Backing.(*types.VirtualSerialPortURIBackingInfo)
		if !ok || b.ProxyURI == "" || s.Connectable != nil && !s.Connectable.StartConnected {
			continue
		}
		if u, err := url.Parse(b.ProxyURI); err == nil {
			return u.Host, b.ServiceURI
		}
	}
	return "", ""
}

// plug connects the serial port of a guest that has just been turned on, if
// the host's firewall lets it out. The guest says that it boots, and echoes
// what is typed.
func (w *World) plug(v *mo.VirtualMachine) {
	addr, uri := serialOf(v.Config)
	if addr == "" || !w.letsOut("remoteSerialPort") {
		return
	}
	name, uuid := v.Name, v.Config.InstanceUuid
	go func() {
		p, err := CallSerial(addr, name, uuid, uri, nil)
		if err != nil {
			return
		}
		w.mu.Lock()
		old := w.lines[name]
		if w.lines == nil {
			w.lines = map[string]*SerialPort{}
		}
		w.lines[name] = p
		w.mu.Unlock()
		if old != nil {
			old.Close()
		}
		p.Say(fmt.Sprintf("Booting %s\r\n%s login: ", name, name))
		for {
			b, err := p.ReadKey()
			if err != nil {
				return
			}
			p.Say(string(b))
		}
	}()
}

// unplug ends the serial line of a guest that is off.
func (w *World) unplug(name string) {
	w.mu.Lock()
	p := w.lines[name]
	delete(w.lines, name)
	w.mu.Unlock()
	if p != nil {
		p.Close()
	}
}

// letsOut says whether a ruleset of the hosts' firewall is on.
func (w *World) letsOut(ruleset string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rules[ruleset]
}

// serialPort checks a serial port: it comes while the guest is off, and goes
// to the network in a way that a host knows.
func (c *checker) serialPort(i int, d *types.VirtualSerialPort) types.BaseMethodFault {
	if c.on {
		return c.needOff()
	}
	n := 0
	for _, have := range c.have {
		if _, ok := have.(*types.VirtualSerialPort); ok {
			n++
		}
	}
	if n >= 4 {
		return &types.TooManyDevices{}
	}
	if b, ok := d.Backing.(*types.VirtualSerialPortURIBackingInfo); ok {
		u, err := url.Parse(b.ProxyURI)
		if b.ProxyURI != "" && (err != nil || u.Port() == "" || u.Scheme != "telnet" && u.Scheme != "telnets") {
			return badDevice(i, "device.backing.proxyURI")
		}
		if b.ServiceURI == "" || b.Direction != "server" && b.Direction != "client" {
			return badDevice(i, "device.backing")
		}
	} else if d.Backing == nil {
		return badDevice(i, "device.backing")
	}
	c.label(&d.VirtualDevice, 9000, "Serial port", 1)
	return nil
}

// renderSerial and serialPortOf are a serial port in a .vmx.
func renderSerial(kv map[string]string, d *types.VirtualSerialPort) {
	b, ok := d.Backing.(*types.VirtualSerialPortURIBackingInfo)
	if !ok {
		return
	}
	p := fmt.Sprintf("serial%d.", d.Key-9000)
	kv[p+"present"], kv[p+"fileType"], kv[p+"fileName"] = "TRUE", "network", b.ServiceURI
	kv[p+"network.endPoint"] = b.Direction
	if b.ProxyURI != "" {
		kv[p+"vspc"] = b.ProxyURI
	}
	if d.YieldOnPoll {
		kv[p+"yieldOnMsrRead"] = "TRUE"
	}
}

func serialPortOf(cfg map[string]string, n int) types.BaseVirtualDevice {
	p := fmt.Sprintf("serial%d.", n)
	if !yes(cfg[p+"present"]) || !strings.EqualFold(cfg[p+"filetype"], "network") {
		return nil
	}
	return &types.VirtualSerialPort{YieldOnPoll: yes(cfg[p+"yieldonmsrread"]), VirtualDevice: types.VirtualDevice{Key: -1,
		Connectable: &types.VirtualDeviceConnectInfo{StartConnected: cfg[p+"startconnected"] == "" || yes(cfg[p+"startconnected"]), AllowGuestControl: true},
		Backing: &types.VirtualSerialPortURIBackingInfo{VirtualDeviceURIBackingInfo: types.VirtualDeviceURIBackingInfo{
			ServiceURI: cfg[p+"filename"], Direction: cfg[p+"network.endpoint"], ProxyURI: cfg[p+"vspc"]}}}}
}

// EnableRuleset opens the hosts' firewall for something.
func (f *firewall) EnableRuleset(req *types.EnableRuleset) soap.HasFault {
	if !f.w.setRule(req.Id, true) {
		return &methods.EnableRulesetBody{Fault_: simulator.Fault("", &types.NotFound{})}
	}
	return &methods.EnableRulesetBody{Res: &types.EnableRulesetResponse{}}
}

// setRule turns a ruleset on or off, if there is one of that name.
func (w *World) setRule(id string, on bool) bool {
	if !slices.ContainsFunc(esx.HostFirewallInfo.Ruleset, func(r types.HostFirewallRuleset) bool { return r.Key == id }) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules[id] = on
	return true
}
