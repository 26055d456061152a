package netboottest

import (
	"bytes"
	"net/netip"
	"testing"

	"margay/netboot/httpd"
	"margay/netboot/tftp"
)

// TestFilesOnTheWire: tshark reads all that TFTP and HTTP send, whole and with
// no complaint: windows, options, refusals, answers to probes.
func TestFilesOnTheWire(t *testing.T) {
	Binary(t, "tshark")
	lan := NewLAN(t)
	server, client := lan.NewHost(t, "10.1.0.1/24"), lan.NewHost(t, "10.1.0.2/24")
	want := noise(200_000)
	serveTFTP(t, server, &tftp.Server{Opener: shelf{"f": want}})
	serveHTTP(t, server, &httpd.Server{Opener: shelf{"f": want, "small": want[:2500]}})
	wire := NewCapture(t, server, "eth0", nil)
	for _, c := range []TFTPClient{{}, {Block: 1428}, {Block: 1468, Window: 16}} {
		fetchWindows(t, client, c, want)
	}
	conn, err := listenUDP(client)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := (TFTPClient{Block: 512}).Fetch(conn, netip.MustParseAddrPort("10.1.0.1:69"), "nosuch"); err == nil {
		t.Error("a file that is not there came")
	}
	for name, want := range map[string][]byte{"f": want, "small": want[:2500]} {
		c, err := dial(client, "10.1.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := get(c, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if c, err := dial(client, "10.1.0.1:80"); err == nil {
		if _, err := get(c, "nosuch"); err == nil {
			t.Error("a file that is not there came by HTTP")
		}
	}
	// A window is seen here as the kernel was handed it: in one piece.
	for filter, least := range map[string]int{"tftp.opcode == 3": 500, "tftp.opcode == 6": 2, "tftp.opcode == 5": 1, "http.response": 3} {
		if n := wire.Count(t, filter); n < least {
			t.Errorf("%d packets are %s, want %d", n, filter, least)
		}
	}
	// Every refusal is a warning to tshark, as it is meant to be to a reader.
	if bad := wire.Complaints(t, netip.MustParseAddr("10.1.0.1"), "tftp && tftp.opcode != 5 || http || tcp"); len(bad) > 0 {
		t.Errorf("tshark complains of %d, first %q", len(bad), bad[0])
	}
}
