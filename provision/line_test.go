package provision

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"margay/netboot"
	"margay/nodedb"
)

// TestLine: old postscripts' words move the node that the address is of, and
// no other.
func TestLine(t *testing.T) {
	s, _ := newService(t)
	s.mustSet(t, "esx1", "install")
	s.mustSet(t, "esx2", "install")
	s.get(from1, "boot/esx1/script")
	say := func(m netboot.Machine, line, want string) {
		t.Helper()
		if reply, err := s.Line(t.Context(), m, line); err != nil || reply != want {
			t.Errorf("%s: %q %v", line, reply, err)
		}
	}
	is := func(status nodedb.Status, mode nodedb.Mode) {
		t.Helper()
		if n := mustNode(t, s, "esx1"); n.Status != status || n.Mode != mode {
			t.Errorf("%s %s, want %s %s", n.Status, n.Mode, status, mode)
		}
	}
	say(from1, "installstatus installing", "")
	is(nodedb.StatusInstalling, nodedb.ModeInstall)
	say(from1, "getpostscript", "#END OF SCRIPT\n")
	say(from1, "syncfiles", "")
	say(from1, "next", "")
	is(nodedb.StatusInstalled, nodedb.ModeBoot)
	say(from1, "installstatus postbooting", "")
	is("postbooting", nodedb.ModeBoot)
	say(from1, "installstatus booted", "")
	is(nodedb.StatusBooted, nodedb.ModeBoot)
	say(from1, "next", "") // again: nothing moves back
	is(nodedb.StatusBooted, nodedb.ModeBoot)
	if n := mustNode(t, s, "esx2"); n.Status != "" || n.Mode != nodedb.ModeInstall {
		t.Errorf("another node moved: %+v", n)
	}
	s.mustSet(t, "esx1", "install")
	say(from1, "installstatus booted", "") // "next" was lost
	is(nodedb.StatusBooted, nodedb.ModeBoot)

	refused := func(m netboot.Machine, line string, isAlarm bool) {
		t.Helper()
		_, err := s.Line(t.Context(), m, line)
		var no *netboot.Refusal
		if !errors.As(err, &no) || no.Alarm != isAlarm {
			t.Errorf("%s %q: %v", m.Addr, line, err)
		}
	}
	refused(netboot.Machine{Addr: netip.MustParseAddr("10.1.0.99")}, "next", true)
	refused(netboot.Machine{}, "next", true)
	refused(from1, "installstatus ${evil}", false)
	refused(from1, "installstatus", false)
	refused(from1, "", false)
	refused(from1, "GET / HTTP/1.1", false)
	s.Config.Neighbor = func(netip.Addr) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 9} }
	refused(from2, "next", true)
}
