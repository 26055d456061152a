package rom

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	pin "github.com/pin/tftp/v3"
)

// A world is a provisioning server on loopback: each of its three services is
// as plain as can be, so that a test can make any of them misbehave.
type world struct {
	t     testing.TB
	files map[string]string // by path, for HTTP and TFTP
	dhcp  *net.UDPConn
	tftp  netip.AddrPort
	web   *httptest.Server

	mu     sync.Mutex // guards the rest
	asked  []string   // "GET /x agent"
	posted []string

	proxy bool                                          // the boot file comes from a server beside this one
	boot  func(req *dhcpv4.DHCPv4) string               // the boot file for a request
	twist func(req, resp *dhcpv4.DHCPv4)                // spoils a reply
	serve func(http.ResponseWriter, *http.Request) bool // answers instead; true if it did
}

const clientIP = "127.0.0.11"

func newWorld(t testing.TB) *world {
	w := &world{t: t, files: map[string]string{}}
	w.web = httptest.NewServer(http.HandlerFunc(w.answer))
	t.Cleanup(w.web.Close)
	w.listenTFTP()
	w.listenDHCP()
	return w
}

func (w *world) answer(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked = append(w.asked, r.Method+" "+r.URL.RequestURI()+" "+r.UserAgent())
	serve := w.serve
	text, ok := w.files[strings.TrimPrefix(r.URL.Path, "/")]
	w.mu.Unlock()
	switch {
	case serve != nil && serve(rw, r):
	case r.Method == http.MethodPost:
		w.mu.Lock()
		w.posted = append(w.posted, r.URL.Path)
		w.mu.Unlock()
		io.WriteString(rw, "ok\n")
	case !ok:
		http.Error(rw, "no such file", http.StatusNotFound)
	default:
		rw.Header().Set("Content-Length", fmt.Sprint(len(text)))
		if r.Method != http.MethodHead {
			io.WriteString(rw, text)
		}
	}
}

func (w *world) listenTFTP() {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		w.t.Fatal(err)
	}
	s := pin.NewServer(func(name string, rf io.ReaderFrom) error {
		w.mu.Lock()
		w.asked = append(w.asked, "TFTP "+name)
		text, ok := w.files[strings.TrimLeft(name, "/")]
		w.mu.Unlock()
		if !ok {
			return os.ErrNotExist
		}
		rf.(pin.OutgoingTransfer).SetSize(int64(len(text)))
		_, err := rf.ReadFrom(strings.NewReader(text))
		return err
	}, nil)
	s.SetTimeout(200 * time.Millisecond)
	go s.Serve(conn)
	w.t.Cleanup(s.Shutdown)
	w.tftp = conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func (w *world) listenDHCP() {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	w.dhcp = conn
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if req, err := dhcpv4.FromBytes(buf[:n]); err == nil {
				if resp := w.reply(req); resp != nil {
					conn.WriteToUDP(resp.ToBytes(), from) // RFC 8357
				}
				if resp := w.beside(req); resp != nil {
					conn.WriteToUDP(resp.ToBytes(), from)
				}
			}
		}
	}()
}

func (w *world) reply(req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind := dhcpv4.MessageTypeOffer
	if req.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	resp, err := dhcpv4.NewReplyFromRequest(req,
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(net.ParseIP(clientIP)),
		dhcpv4.WithServerIP(net.IPv4(127, 0, 0, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(127, 0, 0, 1))),
		dhcpv4.WithNetmask(net.CIDRMask(8, 32)),
		dhcpv4.WithLeaseTime(600),
	)
	if err != nil {
		return nil
	}
	resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, req.Options.Get(dhcpv4.OptionRelayAgentInformation)))
	if w.boot != nil && !w.proxy && (req.ClassIdentifier() != "" || req.Options.Has(dhcpv4.OptionUserClassInformation)) {
		if f := w.boot(req); f != "" {
			if !isURL(f) {
				resp.BootFileName = f
			}
			resp.UpdateOption(dhcpv4.OptBootFileName(f))
		}
	}
	if !w.proxy && strings.HasPrefix(req.ClassIdentifier(), "HTTPClient") {
		resp.UpdateOption(dhcpv4.OptClassIdentifier("HTTPClient"))
	}
	if w.twist != nil {
		w.twist(req, resp)
	}
	return resp
}

// beside is what a proxyDHCP server beside ours offers.
func (w *world) beside(req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.proxy || req.MessageType() != dhcpv4.MessageTypeDiscover || req.ClassIdentifier() == "" {
		return nil
	}
	resp, err := dhcpv4.NewReplyFromRequest(req,
		dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer),
		dhcpv4.WithServerIP(net.IPv4(127, 0, 0, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(127, 0, 0, 1))),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(req.ClassIdentifier()[:len("PXEClient")])),
		dhcpv4.WithGeneric(dhcpv4.OptionVendorSpecificInformation, []byte{6, 1, 8, 255}),
	)
	if err != nil {
		return nil
	}
	if strings.HasPrefix(req.ClassIdentifier(), "HTTPClient") {
		resp.UpdateOption(dhcpv4.OptClassIdentifier("HTTPClient"))
	}
	resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, req.Options.Get(dhcpv4.OptionRelayAgentInformation)))
	file := w.boot(req)
	if !isURL(file) {
		resp.BootFileName = file
	}
	resp.UpdateOption(dhcpv4.OptBootFileName(file))
	return resp
}

// machine is one of this world, which may not be changed any more.
func (w *world) machine(f Firmware) *Machine {
	w.mu.Lock()
	defer w.mu.Unlock() // the services see all that was changed before
	return &Machine{
		MAC:      net.HardwareAddr{0x52, 0x54, 0, 0xab, 0xcd, 0xef},
		Firmware: f,
		DHCP:     w.dhcp.LocalAddr().(*net.UDPAddr).AddrPort(),
		Source:   netip.MustParseAddr(clientIP),
		TFTPPort: w.tftp.Port(),
		Verify:   true,
		Patience: 20 * time.Second,
	}
}

func (w *world) url(path string) string { return w.web.URL + "/" + path }

// pe is the least that is a UEFI program for a machine type.
func pe(machine uint16, text string) string {
	b := make([]byte, 0x48)
	copy(b, "MZ")
	b[0x3c] = 0x40
	copy(b[0x40:], "PE\x00\x00")
	b[0x44], b[0x45] = byte(machine), byte(machine>>8)
	return string(b) + text
}

func gz(size int) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(bytes.Repeat([]byte("esx "), size/4))
	z.Close()
	return b.String()
}

const mac01 = "01-52-54-00-ab-cd-ef"

const kickstart = `vmaccepteula
rootpw --iscrypted $6$x$y
install --firstdisk --overwritevmfs
network --bootproto=dhcp
reboot
%pre --interpreter=busybox
say BASE/callback/TOK/installing
%post --interpreter=busybox
u="BASE/callback/TOK"
wget -q -O - "${u}/installed"
%firstboot
# BASE/callback/TOK/comment
wget -q -O - BASE/callback/TOK/booted
`

// esxi fills w with all that an ESXi host needs, by each firmware.
func esxi(w *world) {
	cfg := "bootstate=0\ntitle=Loading ESXi installer\ntimeout=5\nprefix=" + w.url("install/esxi8.0.2/x86_64") +
		"\nkernel=b.b00\nkernelopt=runweasel ks=" + w.url("boot/n1/ks.cfg?t=SECRET") +
		"\nmodules=jumpstrt.gz --- s.v00 --- sb.v00\nbuild=8.0.2-0.0.22380479\nupdated=0\n"
	f := w.files
	f["xcat/xnba.kpxe"] = "packed"
	f["xcat/xnba.efi"] = pe(0x8664, "iPXE")
	f["boot/n1/boot.cfg"] = cfg
	f["boot/n1/"+mac01+"/boot.cfg"] = cfg
	f["boot/n1/bootx64.efi"] = pe(0x8664, "esx-boot")
	f["boot/n1/ks.cfg"] = strings.ReplaceAll(kickstart, "BASE", w.web.URL)
	tree := "install/esxi8.0.2/x86_64/"
	f[tree+"mboot.c32"] = "\xb8\xfe\x4c\xcd\x21mboot"
	f[tree+"efi/boot/bootx64.efi"] = pe(0x8664, "esx-boot")
	f[tree+"efi/boot/crypto64.efi"] = pe(0x8664, "crypto")
	f[tree+"b.b00"] = gz(100_000)
	f[tree+"jumpstrt.gz"] = gz(0)
	f[tree+"s.v00"] = gz(3_000_000)
	f[tree+"sb.v00"] = gz(50_000)
	f["boot/n1/script"] = `#!gpxe
#install esxi8.0.2-x86_64-base
echo margay: n1
iseq ${platform} efi && goto uefi ||
chain ` + w.url(tree+"mboot.c32") + ` -e -c ` + w.url("boot/n1/boot.cfg") + ` BOOTIF=01-${netX/mac:hexhyp} || goto failed
goto failed
:uefi
chain ` + w.url(tree+"efi/boot/bootx64.efi") + ` -e -c ` + w.url("boot/n1/boot.cfg") + ` || goto failed
:failed
echo the loader did not start
prompt --key s --timeout 30000 Press s && shell ||
reboot
`
	w.boot = func(req *dhcpv4.DHCPv4) string {
		combootOrEFI := strings.Contains(string(req.Options.Get(dhcpv4.GenericOptionCode(optLoader))), "\x23\x01") ||
			strings.Contains(string(req.Options.Get(dhcpv4.GenericOptionCode(optLoader))), "\x24\x01")
		switch {
		case strings.HasPrefix(req.ClassIdentifier(), "HTTPClient"):
			return w.url("boot/n1/bootx64.efi")
		case combootOrEFI:
			return w.url("boot/n1/script")
		case strings.HasPrefix(req.ClassIdentifier(), "PXEClient:Arch:00007"):
			return "xcat/xnba.efi"
		}
		return "xcat/xnba.kpxe"
	}
}
