package rom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestInstall(t *testing.T) {
	for _, fw := range []Firmware{BIOS, BIOSiPXE, UEFI, UEFIHTTP} {
		t.Run(string(fw), func(t *testing.T) {
			w := newWorld(t)
			esxi(w)
			var steps []string
			m := w.machine(fw)
			r, err := m.Boot(t.Context(), func(s Step) { steps = append(steps, fmt.Sprintf("%s %s", s.Name, s.Detail)) })
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(w.asked, "\n"))
			}
			if r.Outcome != ESXi || len(r.Modules) != 3 || r.Lease.Addr.String() != clientIP+"/8" {
				t.Errorf("%+v", r)
			}
			if !strings.HasPrefix(r.CommandLine, "runweasel ks=http://") || strings.Count(r.CommandLine, "BOOTIF="+mac01) != 1 {
				t.Errorf("command line %q", r.CommandLine)
			}
			if strings.Contains(strings.Join(steps, "\n"), "SECRET") || !strings.Contains(r.AnswerURL, "SECRET") {
				t.Errorf("steps:\n%s", strings.Join(steps, "\n"))
			}
			if fw == UEFIHTTP != slices.Contains(w.asked, "HEAD /install/esxi8.0.2/x86_64/s.v00 esx-boot/2.0") {
				t.Errorf("asked:\n%s", strings.Join(w.asked, "\n"))
			}
			if err := m.Tell(t.Context(), r, nil, "pre", "post"); err != nil {
				t.Error(err)
			}
			if err := m.Tell(t.Context(), r, nil, "firstboot"); err != nil {
				t.Error(err)
			}
			if got, want := strings.Join(w.posted, " "), "/callback/TOK/installing /callback/TOK/installed /callback/TOK/booted"; got != want {
				t.Errorf("reported %q, want %q", got, want)
			}
		})
	}
}

func TestBesideAnotherServer(t *testing.T) {
	for _, fw := range []Firmware{BIOS, UEFI, UEFIHTTP} {
		w := newWorld(t)
		esxi(w)
		w.proxy = true
		r, err := w.machine(fw).Boot(t.Context(), nil)
		if err != nil || r.Outcome != ESXi || r.Answer == "" {
			t.Errorf("%s: %+v, %v", fw, r, err)
		}
	}
}

func TestLocalDisk(t *testing.T) {
	tests := []struct {
		fw     Firmware
		file   string
		script string
	}{
		{BIOS, "", "#!ipxe\niseq ${platform} efi && exit 1 ||\nsanboot --no-describe --drive 0x80 || exit\n"},
		{UEFI, "", "#!ipxe\niseq ${platform} efi && exit 1 ||\nsanboot --no-describe --drive 0x80 || exit\n"},
		{BIOS, "", "#!gpxe\n#boot\nexit\n"},
		{UEFIHTTP, "boot/n1/exit.efi", ""},
	}
	for _, tt := range tests {
		w := newWorld(t)
		esxi(w)
		w.files["boot/n1/script"] = tt.script
		if tt.file != "" {
			w.files[tt.file] = pe(0x8664, "")
			w.boot = func(*dhcpv4.DHCPv4) string { return w.url(tt.file) }
		}
		r, err := w.machine(tt.fw).Boot(t.Context(), nil)
		if err != nil || r.Outcome != LocalDisk {
			t.Errorf("%s: %+v, %v", tt.fw, r, err)
		}
	}
}

// Each of these servers is one that real firmware, iPXE or mboot would not
// boot from.
func TestRefuses(t *testing.T) {
	script := func(text string) func(*world) {
		return func(w *world) { w.files["boot/n1/script"] = text }
	}
	cfg := func(old, new string) func(*world) {
		return func(w *world) {
			for _, name := range []string{"boot/n1/boot.cfg", "boot/n1/" + mac01 + "/boot.cfg"} {
				w.files[name] = strings.Replace(w.files[name], old, new, 1)
			}
		}
	}
	option := func(fw Firmware, code uint8) func(*world) {
		return func(w *world) {
			w.twist = func(_, resp *dhcpv4.DHCPv4) { resp.Options.Del(dhcpv4.GenericOptionCode(code)) }
		}
	}
	tests := []struct {
		name  string
		fw    Firmware
		spoil func(*world)
		want  string // in the error
	}{
		{"HTTPClient not echoed", UEFIHTTP, option(UEFIHTTP, 60), "dhcp: an offer without option 60 HTTPClient"},
		{"no server identifier", BIOS, option(BIOS, 54), "dhcp: an answer without option 54"},
		{"no lease time", BIOS, option(BIOS, 51), "dhcp: an answer without option 51"},
		{"option 82 lost", BIOS, option(BIOS, 82), "dhcp: option 82 was not echoed"},
		{"60 without 43", UEFI, func(w *world) {
			w.twist = func(_, resp *dhcpv4.DHCPv4) { resp.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient")) }
		}, "option 60 PXEClient but without option 43"},
		{"file in option 67 alone", BIOS, func(w *world) {
			w.twist = func(_, resp *dhcpv4.DHCPv4) { resp.BootFileName = "" }
		}, "in option 67 alone"},
		{"no file", BIOS, func(w *world) { w.boot = nil }, "dhcp: an offer without a boot file"},
		{"nak", BIOS, func(w *world) {
			w.twist = func(req, resp *dhcpv4.DHCPv4) {
				if req.MessageType() == dhcpv4.MessageTypeRequest {
					resp.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
				}
			}
		}, "refused it: NAK"},
		{"two addresses", UEFI, func(w *world) {
			w.twist = func(req, resp *dhcpv4.DHCPv4) {
				if req.Options.Has(dhcpv4.OptionUserClassInformation) {
					resp.YourIPAddr = []byte{127, 0, 0, 99}
				}
			}
		}, "dhcp of iPXE: another address"},
		{"loader again and again", BIOS, func(w *world) {
			w.boot = func(*dhcpv4.DHCPv4) string { return "xcat/xnba.kpxe" }
		}, "once more: it would go round in a circle"},
		{"no loader", BIOS, func(w *world) { delete(w.files, "xcat/xnba.kpxe") }, "loader: tftp://"},
		{"UEFI loader for BIOS", BIOS, func(w *world) { w.files["xcat/xnba.kpxe"] = pe(0x8664, "") }, "which BIOS cannot start"},
		{"loader for arm", UEFI, func(w *world) { w.files["xcat/xnba.efi"] = pe(0xaa64, "") }, "machine type 0xaa64"},
		{"no script", BIOS, func(w *world) { delete(w.files, "boot/n1/script") }, "script: http"},
		{"not a script", BIOS, script("hello"), "neither a script"},
		{"no COMBOOT", BIOSiPXE, func(w *world) {
			w.boot = func(*dhcpv4.DHCPv4) string { return w.url("boot/n1/script") }
		}, "has no COMBOOT"},
		{"a shell", BIOS, script("#!ipxe\necho n1 is not ready\nshell\n"), "shell: waits for a person; on the screen: n1 is not ready"},
		{"a loader that is not there", UEFI, func(w *world) { delete(w.files, "install/esxi8.0.2/x86_64/efi/boot/bootx64.efi") },
			"the script says reboot; before that: chain: http"},
		{"caught, and off to the disk", UEFI, script("#!ipxe\nchain nothing.efi || exit\n"), "404 Not Found: no such file"},
		{"unknown command", BIOS, script("#!ipxe\nfrobnicate\n"), "line 2: frobnicate: command not found"},
		{"unknown option", UEFI, script("#!ipxe\nchain /boot/n1/bootx64.efi -E 2 -c boot.cfg\n"), "mboot: option -E"},
		{"no BOOTIF", BIOS, func(w *world) {
			w.files["boot/n1/script"] = strings.ReplaceAll(w.files["boot/n1/script"], " BOOTIF=01-${netX/mac:hexhyp}", "")
		}, "boot.cfg: no BOOTIF"},
		{"another's BOOTIF", BIOS, func(w *world) {
			w.files["boot/n1/script"] = strings.ReplaceAll(w.files["boot/n1/script"], "${netX/mac:hexhyp}", "aa-bb-cc-dd-ee-ff")
		}, "the machine boots from BOOTIF=" + mac01},
		{"no boot.cfg", UEFIHTTP, func(w *world) {
			delete(w.files, "boot/n1/boot.cfg")
			delete(w.files, "boot/n1/"+mac01+"/boot.cfg")
		}, "boot.cfg: http"},
		{"blank before =", UEFI, cfg("kernel=", "kernel ="), "blank before the ="},
		{"disc's slash", UEFI, cfg("kernel=b.b00", "kernel=/b.b00"), "kernel: http"},
		{"no number", UEFI, cfg("timeout=5", "timeout=five"), "timeout=five: not a number"},
		{"cdromBoot", UEFI, cfg("runweasel", "runweasel cdromBoot"), "cdromBoot"},
		{"no prefix", UEFIHTTP, func(w *world) {
			cfg("prefix="+w.url("install/esxi8.0.2/x86_64"), "prefix=/install/esxi8.0.2/x86_64")(w)
		}, "loads full addresses only"},
		{"chunked boot.cfg", UEFIHTTP, func(w *world) {
			w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "boot.cfg") {
					return false
				}
				rw.(http.Flusher).Flush()
				return true
			}
		}, "boot.cfg: http"},
		{"redirect", UEFIHTTP, func(w *world) {
			w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "boot.cfg") {
					return false
				}
				http.Redirect(rw, r, "/elsewhere", http.StatusFound)
				return true
			}
		}, "302 Found"},
		{"no HEAD", UEFIHTTP, func(w *world) {
			w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodHead {
					rw.WriteHeader(http.StatusMethodNotAllowed)
				}
				return r.Method == http.MethodHead
			}
		}, "loader: the firmware asks for its size first"},
		{"missing module", UEFI, func(w *world) { delete(w.files, "install/esxi8.0.2/x86_64/s.v00") }, "module 2/3: http"},
		{"empty module", UEFI, func(w *world) { w.files["install/esxi8.0.2/x86_64/jumpstrt.gz"] = "" }, "module 1/3: "},
		{"damaged module", UEFI, func(w *world) {
			b := []byte(w.files["install/esxi8.0.2/x86_64/s.v00"])
			b[len(b)/2] ^= 1
			w.files["install/esxi8.0.2/x86_64/s.v00"] = string(b)
		}, "module 2/3: gzip"},
		{"no kickstart", UEFI, func(w *world) { delete(w.files, "boot/n1/ks.cfg") }, "kickstart: http"},
		{"no EULA", UEFI, func(w *world) {
			w.files["boot/n1/ks.cfg"] = strings.Replace(w.files["boot/n1/ks.cfg"], "vmaccepteula", "", 1)
		}, "kickstart: no vmaccepteula"},
		{"installer without ks", UEFI, func(w *world) { cfg(" ks="+w.url("boot/n1/ks.cfg?t=SECRET"), "")(w) }, "no ks="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			esxi(w)
			tt.spoil(w)
			_, err := w.machine(tt.fw).Boot(t.Context(), nil)
			var e *Error
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &e) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

// TestLateOffer: a server that was slow offers once more when its offer is taken
// already, and is asked again.
func TestLateOffer(t *testing.T) {
	w := newWorld(t)
	esxi(w)
	late := map[dhcpv4.TransactionID]bool{}
	w.twist = func(req, resp *dhcpv4.DHCPv4) {
		if req.MessageType() == dhcpv4.MessageTypeRequest && !late[req.TransactionID] {
			late[req.TransactionID] = true
			resp.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
		}
	}
	r, err := w.machine(UEFI).Boot(t.Context(), nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || r.Outcome != ESXi || len(late) == 0 {
		t.Errorf("%v, late offers %d", err, len(late))
	}
}

func TestSilence(t *testing.T) {
	w := newWorld(t)
	m := w.machine(BIOS)
	w.dhcp.Close()
	m.Patience = 3 * time.Second
	if _, err := m.Boot(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "dhcp: no ") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newWorld(t).machine(BIOS).Boot(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestStateless(t *testing.T) {
	w := newWorld(t)
	esxi(w)
	cfg := "kernel=b.b00\nkernelopt=\nprefix=" + w.url("install/esxi8.0.2/x86_64") + "\nmodules=s.v00 --- " + w.url("boot/n1/overlay.tgz")
	w.files["boot/n1/boot.cfg"] = cfg
	w.files["boot/n1/overlay.tgz"] = tgz(t, "etc/init.d/99.margay", "wget "+w.web.URL+"/callback/TOK/booted\n")
	m := w.machine(UEFI)
	r, err := m.Boot(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Reports) != 1 || r.Reports[0].Name() != "booted" || r.Answer != "" {
		t.Errorf("%+v", r.Reports)
	}
}

func TestESXi4(t *testing.T) {
	w := newWorld(t)
	esxi(w)
	base := w.url("install/esxi8.0.2/x86_64/")
	w.files["boot/n1/script"] = "#!gpxe\nchain " + base + "mboot.c32 b.b00 ks=" + w.url("boot/n1/ks.cfg") + " ksdevice=x --- s.v00 --- sb.v00\n"
	r, err := w.machine(BIOS).Boot(t.Context(), nil)
	if err != nil || len(r.Modules) != 2 || r.Answer == "" || r.CommandLine == "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestLinux(t *testing.T) {
	w := newWorld(t)
	esxi(w)
	kernel := make([]byte, 0x300)
	copy(kernel[0x202:], "HdrS")
	w.files["boot/n1/vmlinuz"] = string(kernel)
	w.files["boot/n1/initrd"] = "initrd"
	w.files["boot/n1/script"] = "#!ipxe\nkernel vmlinuz inst.ks=" + w.url("boot/n1/ks.cfg?t=SECRET") + " ip=dhcp\ninitrd initrd\nboot\n"
	r, err := w.machine(BIOS).Boot(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Outcome != Linux || len(r.Modules) != 1 || r.Answer == "" {
		t.Errorf("%+v", r)
	}
}

func TestNativeTFTP(t *testing.T) {
	w := newWorld(t)
	esxi(w)
	w.boot = func(*dhcpv4.DHCPv4) string { return "esx/mboot.efi" }
	w.files["esx/mboot.efi"] = pe(0x8664, "esx-boot")
	w.files["esx/boot.cfg"] = "kernel=b.b00\nmodules=s.v00\nprefix=tree"
	w.files["tree/b.b00"] = gz(10)
	w.files["tree/s.v00"] = gz(1000)
	r, err := w.machine(UEFI).Boot(t.Context(), nil)
	if err != nil || len(r.Modules) != 1 {
		t.Fatalf("%+v, %v\n%s", r, err, strings.Join(w.asked, "\n"))
	}
	if !slices.Contains(w.asked, "TFTP esx/"+mac01+"/boot.cfg") {
		t.Errorf("asked:\n%s", strings.Join(w.asked, "\n"))
	}
}

func TestComesBackWhenTold(t *testing.T) {
	w := newWorld(t)
	esxi(w)
	busy := 1
	w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !strings.HasSuffix(r.URL.Path, "s.v00") || busy == 0 {
			return false
		}
		busy--
		rw.Header().Set("Retry-After", "0")
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	if _, err := w.machine(UEFI).Boot(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestMachineIsChecked(t *testing.T) {
	for _, m := range []*Machine{
		{},
		{MAC: make([]byte, 6), Firmware: "coreboot"},
		{MAC: make([]byte, 6), Firmware: BIOS},
		{MAC: make([]byte, 6), Firmware: BIOS, DHCP: netip.MustParseAddrPort("127.0.0.1:67")},
	} {
		if _, err := m.Boot(t.Context(), nil); err == nil {
			t.Errorf("%+v boots", m)
		}
	}
}

func TestRedact(t *testing.T) {
	tests := []struct{ in, want string }{
		{"http://h/boot/n1/ks.cfg?t=SECRET", "http://h/boot/n1/ks.cfg"},
		{"http://h/boot/n1/ks.cfg?a=1&t=SECRET", "http://h/boot/n1/ks.cfg?a=1"},
		{"http://h:80/callback/SECRET/booted", "http://h:80/callback/-/booted"},
		{"xcat/xnba.efi", "xcat/xnba.efi"},
	}
	for _, tt := range tests {
		if got := Redact(tt.in); got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := RedactText("see http://h/x?t=SECRET and http://h/callback/SECRET/x"); strings.Contains(got, "SECRET") {
		t.Errorf("%q", got)
	}
}
