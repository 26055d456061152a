package provision

import (
	"fmt"
	"net/netip"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// firmwares are the ways in which a machine may boot.
var firmwares = []struct {
	name     string
	firmware netboot.Firmware
	http     bool
}{
	{"bios", netboot.BIOS, false},
	{"uefi", netboot.UEFI64, false},
	{"uefi-http", netboot.UEFI64, true},
}

// ParseFirmware reads bios, uefi or uefi-http.
func ParseFirmware(name string) (fw netboot.Firmware, http bool, err error) {
	for _, f := range firmwares {
		if f.name == name {
			return f.firmware, f.http, nil
		}
	}
	return 0, false, fmt.Errorf("firmware %q: not one of bios, uefi, uefi-http", name)
}

// Render shows what a node would be sent now if it asked for a file. Without
// reveal the token stays hidden, and so does the password's hash.
func (s *Service) Render(snap *nodedb.Snapshot, n *nodedb.Node, file, firmware string, reveal bool) ([]byte, error) {
	if n.Mode != nodedb.ModeInstall && n.Mode != nodedb.ModeNetboot {
		if file == "script" {
			return exitScript(n.CurrState, ""), nil
		}
		return nil, fmt.Errorf("node %s: set to %q, so there is no %s for it; run nodeset %s install", n.Name, n.CurrState, file, n.Name)
	}
	b, f, err := s.boot(snap, n, current(snap, n), s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return nil, errNode(n.Name, err)
	}
	b.Firmware = s.journal.firmware(n.Name)
	b.HTTPBoot = s.journal.httpBoot(n.Name)
	if firmware != "" {
		if b.Firmware, b.HTTPBoot, err = ParseFirmware(firmware); err != nil {
			return nil, err
		}
	}
	if a := attempt(snap, n.Name); reveal && a != nil {
		b.Token = a.token(max(s.journal.try(n.Name), 1))
	}
	if !contains(f.Files(b), file) {
		return nil, fmt.Errorf("node %s: no file %s in its boot; there are %s", n.Name, file, strings.Join(f.Files(b), ", "))
	}
	text, err := f.Make(b, file)
	if err != nil {
		return nil, errNode(n.Name, err)
	}
	if !reveal {
		text = hideHashes(text)
	}
	return text, nil
}

// hideHashes blanks crypt(3) hashes.
func hideHashes(text []byte) []byte {
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		for _, scheme := range []string{"$6$", "$5$", "$1$"} {
			if at := strings.Index(line, scheme); at >= 0 {
				end := at + strings.IndexAny(line[at:]+" ", " '\":\t")
				lines[i] = line[:at] + scheme + "******" + line[end:]
			}
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// Files are the names that Render knows for a node.
func (s *Service) Files(snap *nodedb.Snapshot, n *nodedb.Node) []string {
	b, f, err := s.boot(snap, n, current(snap, n), s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return []string{"script"}
	}
	return f.Files(b)
}
