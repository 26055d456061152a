// Package netboot has the words of a network boot: the Machine that asks, the
// Plan it is answered by, the File it is sent, the Event that tells of it.
// Its children speak the protocols and decide nothing.
package netboot

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// ErrIgnore says that a machine is not ours, or is to get no answer: the
// service stays silent.
var ErrIgnore = errors.New("not ours")

// ErrNotFound says that there is no such file: 404, or TFTP error 1.
var ErrNotFound = errors.New("no such file")

// A Refusal is a machine of ours that may not have what it asks for: 403, or
// TFTP error 2. Reason is one sentence that an operator can act on; it is
// shown on the machine's screen and holds no secret.
type Refusal struct {
	Node   string // may be empty
	Reason string
	Alarm  bool // someone asks for what is another's, or whose time is over
}

func (r *Refusal) Error() string { return r.Reason }

// Firmware is what kind of code a machine boots with.
type Firmware uint8

// The firmware kinds, from DHCP option 93 (RFC 4578 2.1, RFC 5970, IANA's
// processor architecture types).
const (
	FirmwareUnknown Firmware = iota
	BIOS
	UEFI64
	UEFI32
	UEFIARM64
)

func (f Firmware) String() string {
	switch f {
	case BIOS:
		return "bios"
	case UEFI64:
		return "uefi"
	case UEFI32:
		return "uefi-ia32"
	case UEFIARM64:
		return "uefi-arm64"
	}
	return "unknown"
}

// Ask is what a DHCP client wants.
type Ask uint8

// The asks; AskNone where the request did not come by DHCP.
const (
	AskNone Ask = iota
	AskDiscover
	AskRequest
	AskInform
	AskRelease
	AskDecline
)

// A Machine is who asks, as far as its protocol tells. TFTP and HTTP know Addr
// and Local only. Its slices belong to the request: keep copies.
type Machine struct {
	MAC       net.HardwareAddr
	Addr      netip.Addr // the address it sends from; zero if it has none yet
	Local     netip.Addr // our address as it reaches us; the server it should be told
	Relay     netip.Addr // RFC 2131 giaddr; zero if it asked directly
	Link      netip.Addr // whose network it is to be on, where relay or client say (RFC 3527, RFC 3011); else zero
	Interface string     // on which of our interfaces; may be empty
	Broadcast bool       // it asked everybody on that interface's wire, so it is there

	// From DHCP only.
	Ask       Ask
	Requested netip.Addr // option 50, or ciaddr when renewing
	Server    netip.Addr // option 54 in a REQUEST; zero if absent
	Proxy     bool       // another server gives it its address: only what to boot is asked
	Firmware  Firmware
	HTTPBoot  bool // vendor class HTTPClient: wants a URL (UEFI 2.5+, 24.7)
	PXE       bool // vendor class PXEClient: wants a boot file
	Loader    bool // iPXE or xNBA asks, not the firmware
	COMBOOT   bool // that loader can start COM32 programs (iPXE feature 0x23)
	HTTP      bool // that loader can fetch by HTTP (iPXE feature 0x13)
	Arch      uint16
	HasArch   bool // option 93 was there; Arch 0 is BIOS
	ClientID  []byte
	UUID      []byte // option 97, 16 bytes as sent
	Class     string // option 60
	UserClass string // option 77
	Hostname  string // option 12
	RelayInfo []byte // option 82, as sent

	// Probe is the secret by which `margay probe` says whom it plays: DHCP
	// option 224 (site-specific, RFC 3942), HTTP header Margay-Probe. Empty for
	// real machines; worth nothing unless the planner knows it.
	Probe string

	TFTP bool // it asks by TFTP

	// From HTTP only.
	Agent string // User-Agent
	Head  bool   // HEAD: nothing is sent but the size
	TLS   bool   // it asks by HTTPS
}

// A Plan is all that a machine is told by DHCP. Zero fields are left out.
type Plan struct {
	Node     string       // whose plan it is; for events, never sent
	Addr     netip.Prefix // the machine's address and its network's mask
	Router   netip.Addr
	DNS      []netip.Addr
	NTP      []netip.Addr
	Log      []netip.Addr
	Domain   string
	Search   []string
	Hostname string
	MTU      int
	Lease    time.Duration
	Server   netip.Addr       // server identifier; zero: Machine.Local
	Next     netip.Addr       // where File is had by TFTP; zero: Server
	File     string           // TFTP name or URL; empty: nothing to boot
	Why      string           // why a machine that boots gets nothing to boot; for events, never sent
	Options  map[uint8][]byte // any further option, raw
	Nak      bool             // the address it asks for is not its own
	Denied   bool             // for the planner's own use: no answer is due
}

// A Planner decides what a machine is told. ErrIgnore: say nothing.
type Planner interface {
	Plan(ctx context.Context, m Machine) (*Plan, error)
}

// A File is something to send. Body's reader is *os.File or Extents where it
// can be, so that a service may use sendfile; it must be closed.
type File struct {
	Name    string // as shown in events
	Node    string // whose boot it belongs to; may be empty
	Body    io.ReadSeekCloser
	Size    int64
	ModTime time.Time // zero: made for this request
	Type    string    // MIME type; empty: application/octet-stream
}

// Extents is a Body whose bytes lie in a file on disk that is not theirs alone:
// an installer medium that is served in place, a file that others read too. If it
// has a method Local() bool and that says so, what lies in the page cache is read
// without waiting for anyone: it is on a disk of this host's own.
type Extents interface {
	// Extent tells where what begins at off lies: n bytes in one piece, in f from
	// at on. f is nil where those n bytes, or all that follow, lie in no file.
	Extent(off int64) (f *os.File, at, n int64)
}

// An Opener finds the file that a machine asks for. Name has no leading slash
// and, for HTTP, keeps its query ("boot/esx1/ks.cfg?t=..."). Errors:
// ErrNotFound, *Refusal, or our own fault.
type Opener interface {
	Open(ctx context.Context, m Machine, name string) (*File, error)
}

// A Receiver takes what machines post: callbacks, saved state. Name as in
// Opener. It reads no more of body than it needs; the service bounds it.
type Receiver interface {
	Receive(ctx context.Context, m Machine, name string, body io.Reader) error
}

// A Step is what an event tells of.
type Step string

// The steps that the services see. Others (installing, booted) are known only
// to the receiver of callbacks.
const (
	StepDiscover Step = "discover" // seen, and ours
	StepOffer    Step = "offer"
	StepAck      Step = "ack"
	StepNak      Step = "nak"
	StepInform   Step = "inform"
	StepRelease  Step = "release"
	StepDecline  Step = "decline"
	StepForeign  Step = "foreign" // took the offer of another server, Machine.Server
	StepFile     Step = "file"    // a file was asked for; Done false at its start
	StepRefused  Step = "refused" // Err says why
)

// An Event is something that a service did for a machine. One file makes two:
// one at its start (Done false), one at its end with the bytes that left.
type Event struct {
	Time    time.Time
	Step    Step
	Proto   string // dhcp, tftp, http, dns
	Machine Machine
	Node    string     // where known
	Name    string     // of the file
	Addr    netip.Addr // offered or acknowledged
	Bytes   int64      // sent so far
	Size    int64      // to send
	Done    bool
	Took    time.Duration
	Err     error
}

// An Observer is told of events. Observe must not block.
type Observer interface {
	Observe(Event)
}
