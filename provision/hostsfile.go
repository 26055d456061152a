package provision

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"margay/nodedb"
)

// A HostsForm is how lines of a hosts file are written.
type HostsForm struct {
	LongFirst  bool // the name with its domain first: makehosts -l
	OtherFirst bool // aliases before the names: makehosts -o
	AddOthers  bool // names of other interfaces are aliases too: makehosts -a
	LinkLocal  bool // the address that the interface gives itself, alone: makehosts -m
}

// A HostsLine is what a hosts file says of an address.
type HostsLine struct {
	Addr netip.Addr
	Name string // the host that it is about, without a domain
	Text string
}

// HostsLines are a node's lines for a hosts file: its own, and one for each
// other interface.
func HostsLines(snap *nodedb.Snapshot, n *nodedb.Node, form HostsForm) []HostsLine {
	if form.LinkLocal {
		if len(n.MACs) == 0 || len(n.MACs[0].Addr) != 6 {
			return nil
		}
		return []HostsLine{form.line(snap, linkLocal(n.MACs[0].Addr), n.Name, nil)}
	}
	others := furtherNames(n)
	aliases := slices.Clone(n.Aliases)
	if form.AddOthers {
		for _, o := range others {
			aliases = append(aliases, o.name)
		}
	}
	lines := []HostsLine{form.line(snap, n.Addr, n.Name, aliases)}
	for _, o := range others {
		lines = append(lines, form.line(snap, o.addr, o.name, o.aliases))
	}
	return lines
}

func (f HostsForm) line(snap *nodedb.Snapshot, addr netip.Addr, name string, aliases []string) HostsLine {
	names := []string{name}
	if d := domainOf(snap, addr); d != "" && !strings.Contains(name, ".") {
		names = append(names, name+"."+d)
		if f.LongFirst {
			slices.Reverse(names)
		}
	}
	if f.OtherFirst {
		names = append(slices.Clone(aliases), names...)
	} else {
		names = append(names, aliases...)
	}
	return HostsLine{addr, name, addr.String() + " " + strings.Join(names, " ")}
}

// linkLocal is the address that an interface gives itself (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	a := [16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
	return netip.AddrFrom16(a)
}

// A HostsFile is a file as /etc/hosts, of which only what is named changes.
type HostsFile struct {
	lines  []string
	gone   []bool // by line
	byAddr map[netip.Addr][]int
	byName map[string][]int // of the host that a line is of, without domain, in lower case
}

// NewHosts is the file that makehosts -n begins with.
func NewHosts() *HostsFile { return ParseHosts("127.0.0.1 localhost\n") }

// ParseHosts reads a file. Lines that are not understood stay.
func ParseHosts(text string) *HostsFile {
	h := &HostsFile{byAddr: make(map[netip.Addr][]int), byName: make(map[string][]int)}
	for line := range strings.Lines(text) {
		h.add(strings.TrimSuffix(line, "\n"))
	}
	return h
}

// String is the file's text.
func (h *HostsFile) String() string {
	var b strings.Builder
	for i, line := range h.lines {
		if !h.gone[i] {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func (h *HostsFile) add(line string) {
	h.lines, h.gone = append(h.lines, line), append(h.gone, false)
	h.index(len(h.lines) - 1)
}

// index notes what a line is about. What localhost is, is nobody else's.
func (h *HostsFile) index(i int) {
	text, _, _ := strings.Cut(h.lines[i], "#")
	fields := strings.Fields(text)
	if len(fields) < 2 || slices.Contains(fields[1:], "localhost") {
		return
	}
	if a, err := netip.ParseAddr(fields[0]); err == nil {
		h.byAddr[a] = append(h.byAddr[a], i)
	}
	for _, name := range owners(fields[1:]) {
		h.byName[name] = append(h.byName[name], i)
	}
}

// owners are the hosts whose line one with these names is: that of its first
// name, and those that are there with a domain and without. All else are aliases,
// among them the names of other interfaces, which have lines of their own.
func owners(names []string) (out []string) {
	for i, name := range names {
		short := shortName(name)
		whole := func(other string) bool {
			return len(other) > len(short) && strings.EqualFold(other[:len(short)+1], short+".")
		}
		if (i == 0 || len(name) == len(short) && slices.ContainsFunc(names, whole)) && !slices.Contains(out, short) {
			out = append(out, short)
		}
	}
	return out
}

func shortName(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return strings.ToLower(name)
}

// about are the lines that have the address or the name of line.
func (h *HostsFile) about(line HostsLine) []int {
	list := slices.Concat(h.byAddr[line.Addr], h.byName[shortName(line.Name)])
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(i int) bool { return h.gone[i] })
}

// Put puts a line in the place of the one that has its address or its name; of
// several, the others go. A new line comes last.
func (h *HostsFile) Put(line HostsLine) {
	list := h.about(line)
	if len(list) == 0 {
		h.add(line.Text)
		return
	}
	h.take(list)
	h.lines[list[0]], h.gone[list[0]] = line.Text, false
	h.index(list[0])
}

// Remove takes out the lines that have the address or the name of line.
func (h *HostsFile) Remove(line HostsLine) { h.take(h.about(line)) }

func (h *HostsFile) take(list []int) {
	for _, i := range list {
		h.gone[i] = true
	}
}

// UpdateHosts changes a hosts file by fn. What it was is kept beside it under
// the name with "xcatbak" behind it. The file is written in place where it
// cannot be replaced, as in a container.
func UpdateHosts(path string, fn func(old *HostsFile) *HostsFile) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hosts file %v", err)
	}
	next := fn(ParseHosts(string(text))).String()
	if next == string(text) {
		return nil
	}
	if err == nil {
		if err := os.WriteFile(path+".xcatbak", text, 0o644); err != nil {
			return hostsError(err)
		}
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(next), 0o644); err != nil {
		return hostsError(err)
	}
	if os.Rename(tmp, path) == nil {
		return nil
	}
	os.Remove(tmp)
	if err := os.WriteFile(path, []byte(next), 0o644); err != nil {
		return hostsError(err)
	}
	return nil
}

func hostsError(err error) error {
	if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "read-only") {
		return fmt.Errorf("hosts file %v; under systemd, its directory must be in ReadWritePaths of margay.service", err)
	}
	return fmt.Errorf("hosts file %v", err)
}
