// Package rom plays a machine that boots from the network: its firmware, the
// boot loader it is sent (iPXE or xNBA), ESXi's mboot, and, as far as a server
// can see, the installer. It is a client, and a strict one: what the real
// program would refuse, stumble over or silently ignore is an error that names
// the step.
//
// It needs neither a network of its own nor privilege: it asks DHCP as its own
// relay agent (RFC 2131 4.1.2, with the source port of RFC 8357) and fetches
// from whatever address it is told to use. On an interface of a test's own
// network it can broadcast like any machine.
//
// All of one Boot runs in the goroutine that calls it, so it works inside a
// network namespace that only this thread has entered, and a thousand at once
// cost little.
package rom

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// A Firmware is what a machine boots with.
type Firmware string

// The firmware that is played.
const (
	BIOS     Firmware = "bios"      // a PXE ROM
	BIOSiPXE Firmware = "bios-ipxe" // a ROM that is an iPXE without COMBOOT, as qemu's are
	UEFI     Firmware = "uefi"      // PXE, as edk2 does it
	UEFIHTTP Firmware = "uefi-http" // HTTP boot (UEFI 2.10, 24.7)
)

// ParseFirmware reads a firmware's name.
func ParseFirmware(s string) (Firmware, error) {
	switch f := Firmware(s); f {
	case BIOS, BIOSiPXE, UEFI, UEFIHTTP:
		return f, nil
	}
	return "", fmt.Errorf("firmware %q: not known; use bios, bios-ipxe, uefi or uefi-http", s)
}

func (f Firmware) efi() bool { return f == UEFI || f == UEFIHTTP }

// A Machine is what is played. It may not change while it boots.
type Machine struct {
	MAC      net.HardwareAddr
	Firmware Firmware
	UUID     [16]byte // zero: made from the MAC
	Arch     string   // x86_64 (also if empty) or aarch64

	// DHCP is the server that is asked, with Source as the relay's address.
	// Without it the machine broadcasts on Interface, which needs privilege.
	DHCP      netip.AddrPort
	Interface string
	Configure func(Lease) error // called with the address, to put it on the interface; may be nil

	Source    netip.Addr // to speak from; zero: as the kernel chooses
	TFTPPort  uint16     // of TFTP servers; 0: 69
	Probe     string     // secret that lets a server take us for the machine; may be empty
	UserClass string     // of the iPXE that is played; empty: xNBA, or iPXE for BIOSiPXE

	// Trust are the authorities that are enrolled in the firmware: it loads by
	// HTTPS from servers that they vouch for. Nil: none is.
	Trust *x509.CertPool

	// AnyLoader takes any bytes for a boot program. Otherwise they must look
	// like one for this firmware.
	AnyLoader bool
	// Verify checks each gzip module to its last byte, as mboot does.
	Verify bool

	Patience time.Duration // with a server that does not answer; 0: 10 s
}

// A Lease is what DHCP gave.
type Lease struct {
	Addr     netip.Prefix
	Server   netip.Addr // server identifier
	Next     netip.Addr // where files are had by TFTP
	Router   netip.Addr
	DNS      []netip.Addr
	Hostname string
	Domain   string
	File     string // TFTP name or URL
	Time     time.Duration
}

// A Step is something that went well. Detail holds no secret.
type Step struct {
	Name   string // "dhcp", "loader", "script", "boot.cfg", "module", "kickstart", ...
	Detail string
	Bytes  int64
	Took   time.Duration
}

// An Outcome is how a boot ended.
type Outcome string

// The outcomes.
const (
	LocalDisk Outcome = "local disk" // told to boot what is installed
	ESXi      Outcome = "esxi"       // mboot has all of its modules
	Linux     Outcome = "linux"      // a kernel has been started
)

// A Result is what a machine ended up with.
type Result struct {
	Outcome Outcome
	Lease   Lease
	Loader  string   // the first boot program, as it was asked for
	Script  string   // URL of the first script; empty without one
	Screen  []string // what scripts said

	BootCfg     *BootCfg // of ESXi
	Kernel      string   // path or URL
	CommandLine string   // of the kernel; may hold a token
	Modules     []Module // in order, without the kernel; of Linux its initrds

	AnswerURL string // of the kickstart or its like; may hold a token
	Answer    string // its text; empty if the boot needs none
	Reports   []Report
	Bytes     int64 // loaded in all
}

// A Module is a file that a boot loader loaded.
type Module struct {
	Name string // path or URL
	Size int64
}

// An Error is a step that failed.
type Error struct {
	Step string
	Err  error
}

func (e *Error) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

func fail(step string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Step: step, Err: err}
}

// Boot boots the machine once, from power on to the kernel's start. Each step
// is told when it is done; tell may be nil. An error is always an *Error.
func (m *Machine) Boot(ctx context.Context, tell func(Step)) (*Result, error) {
	b, err := m.powerOn(ctx, tell)
	if err != nil {
		return nil, fail("machine", err)
	}
	defer b.powerOff()
	if err := b.firmware(); err != nil {
		return b.result, err
	}
	b.result.Bytes = b.total
	return b.result, nil
}

// A boot is one run of a machine.
type boot struct {
	*Machine
	ctx    context.Context
	report func(Step)
	result *Result
	http   *httpClient
	lease  Lease
	total  int64
}

func (m *Machine) powerOn(ctx context.Context, tell func(Step)) (*boot, error) {
	if len(m.MAC) != 6 {
		return nil, fmt.Errorf("mac %q: not an Ethernet address", m.MAC)
	}
	if _, err := ParseFirmware(string(m.Firmware)); err != nil {
		return nil, err
	}
	if m.DHCP.IsValid() && !m.Source.Is4() {
		return nil, errors.New("to ask a DHCP server directly, the machine needs a source address")
	}
	if !m.DHCP.IsValid() && m.Interface == "" {
		return nil, errors.New("neither a DHCP server nor an interface to ask on")
	}
	if tell == nil {
		tell = func(Step) {}
	}
	b := &boot{Machine: m, ctx: ctx, report: tell, result: &Result{}}
	b.http = &httpClient{m: m, ctx: ctx}
	return b, nil
}

func (b *boot) powerOff() { b.http.close() }

// tell reports a step that began at a time.
func (b *boot) tell(name string, began time.Time, size int64, format string, args ...any) {
	b.total += size
	b.report(Step{Name: name, Detail: fmt.Sprintf(format, args...), Bytes: size, Took: time.Since(began)})
}

func (m *Machine) patience() time.Duration {
	if m.Patience > 0 {
		return m.Patience
	}
	return 10 * time.Second
}

// stall is how long the machine waits for the next byte by HTTP.
func (m *Machine) stall() time.Duration { return max(httpStall, m.Patience) }

// firmware is what the machine's own code does: an address, a boot program.
func (b *boot) firmware() error {
	if b.Firmware == BIOSiPXE {
		return b.ipxe(&ipxe{class: b.userClass("iPXE")})
	}
	began := time.Now()
	lease, err := b.dhcp(b.firmwareAsk())
	if err != nil {
		return fail("dhcp", err)
	}
	b.lease = *lease
	b.result.Lease = *lease
	b.tell("dhcp", began, 0, "%s from %s, file %s", lease.Addr, lease.Server, Redact(lease.File))
	if b.Firmware == UEFIHTTP {
		return b.httpBoot()
	}
	return b.pxeBoot()
}

func (b *boot) userClass(otherwise string) string {
	if b.UserClass != "" {
		return b.UserClass
	}
	return otherwise
}

// pxeBoot loads the boot program by TFTP and starts it.
func (b *boot) pxeBoot() error {
	began := time.Now()
	name := b.lease.File
	src := tftpSource{b, b.lease.Next, b.Firmware.efi()}
	data, err := src.load(name, program)
	if err != nil {
		return fail("loader", err)
	}
	b.result.Loader = name
	b.tell("loader", began, int64(len(data)), "%s by TFTP from %s", name, b.lease.Next)
	return b.start(name, data, src)
}

// httpBoot loads the boot program by HTTP, its size first, and starts it.
func (b *boot) httpBoot() error {
	began := time.Now()
	url := b.lease.File
	src := httpSource{b: b, agent: agentFirmware, native: true, base: url}
	size, err := src.size(url)
	if err != nil {
		return fail("loader", fmt.Errorf("the firmware asks for its size first: %w", err))
	}
	data, err := src.load(url, program)
	if err != nil {
		return fail("loader", err)
	}
	if int64(len(data)) != size {
		return fail("loader", fmt.Errorf("%s: %d bytes, but HEAD said %d", Redact(url), len(data), size))
	}
	b.result.Loader = url
	b.tell("loader", began, size, "%s", Redact(url))
	src.agent = agentMboot
	return b.start(url, data, src)
}

// start starts a boot program that the firmware loaded.
func (b *boot) start(name string, data []byte, src source) error {
	kind, err := b.identify(name, data)
	if err != nil {
		return fail("loader", err)
	}
	switch kind {
	case loaderIPXE:
		return b.ipxe(&ipxe{class: b.userClass("xNBA"), comboot: !b.Firmware.efi()})
	case loaderMboot:
		return b.nativeMboot(name, src)
	case loaderExit:
		b.result.Outcome = LocalDisk
		b.tell("local disk", time.Now(), 0, "%s comes back to the firmware", Redact(name))
		return nil
	}
	return fail("loader", fmt.Errorf("%s: neither iPXE nor mboot; what it would do is not known", Redact(name)))
}
