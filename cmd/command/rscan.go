package command

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
)

var rscanCmd = &Command{
	Name:  "rscan",
	Usage: "noderange [-w | -u | -n] [-x | -z]",
	Short: "find the guests that hosts have, and define them as nodes",
	Long: `Find the guests that hosts have. -w defines those that the table lacks as nodes
with everything that mkvm would need to make them anew; -u also brings what the
table has of the others up to date. Both may be run again: what is the same
stays. A guest whose name or MAC address is another node's is reported and left
alone.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("write", "w", false, "define guests that the table lacks")
		f.BoolP("update", "u", false, "define guests that the table lacks, and change those that differ")
		f.BoolP("new", "n", false, "show only guests that the table lacks or has otherwise")
		f.BoolP("xml", "x", false, "print XML")
		f.BoolP("stanza", "z", false, "print stanzas, as mkdef -z reads them")
	},
	Run: rscan,
}

func rscan(ctx context.Context, s *Session, args []string) error {
	if s.Bool("xml") && s.Bool("stanza") {
		return Usagef("-x or -z, not both")
	}
	snap := s.DB.Snapshot()
	hosts, rest, err := s.hypervisors(snap, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	var found []vm.Scanned
	s.Guests.Scan(ctx, snap, hosts, func(g vm.Scanned) { found = append(found, g) }, s.result)
	slices.SortStableFunc(found, func(a, b vm.Scanned) int { return cmp.Compare(a.Host, b.Host) })
	if s.Bool("new") {
		found = slices.DeleteFunc(found, func(g vm.Scanned) bool { return g.Err == nil && g.Node != nil && len(g.Differ) == 0 })
	}
	for _, g := range found {
		if g.Err != nil {
			s.NodeError(g.Host, fmt.Errorf("guest %s: %w", g.VM.Name, g.Err))
		}
		for _, note := range g.Notes {
			s.NodeWarn(g.Host, "guest %s: %s", g.VM.Name, note)
		}
	}
	if s.Bool("write") || s.Bool("update") {
		if err := s.define(ctx, found); err != nil {
			return err
		}
	}
	switch {
	case s.Bool("xml"):
		return s.scanXML(found)
	case s.Bool("stanza"):
		s.scanStanzas(found)
	default:
		s.scanTable(found)
	}
	return nil
}

// scanAttrs are lsdef's names of what a guest's facts are, in its order.
func scanAttrs(facts map[string]string) []nodedb.Assign {
	var out []nodedb.Assign
	for _, a := range [][2]string{
		{"mac", "mac.mac"}, {"mgt", "nodehm.mgt"}, {"vmcpus", "vm.cpus"}, {"vmguestostype", "vm.guestostype"},
		{"vmhost", "vm.host"}, {"vmmemory", "vm.memory"}, {"vmnics", "vm.nics"}, {"vmstorage", "vm.storage"},
	} {
		if v := facts[a[1]]; v != "" {
			out = append(out, nodedb.Assign{Attr: a[0], Value: v})
		}
	}
	return out
}

// define writes what was found, in one commit. What differs changes with -u
// alone.
func (s *Session) define(ctx context.Context, found []vm.Scanned) error {
	node := nodedb.TypeByName("node")
	made, changed := 0, 0
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		made, changed = 0, 0
		e := nodedb.Edit(tx)
		for _, g := range found {
			switch {
			case g.Err != nil:
			case g.Node == nil:
				assigns := append([]nodedb.Assign{{Attr: "groups", Value: "vm,all"}}, scanAttrs(g.Facts)...)
				if err := e.Define(node, g.VM.Name, assigns); err != nil {
					return err
				}
				setUUID(tx, g.VM.Name, g.Facts)
				made++
			case s.Bool("update") && len(g.Differ) > 0:
				facts := map[string]string{}
				for _, column := range g.Differ {
					facts[column] = g.Facts[column]
				}
				if _, err := e.Change(node, g.VM.Name, scanAttrs(facts)); err != nil {
					return err
				}
				setUUID(tx, g.VM.Name, facts)
				changed++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.ErrLine("%d nodes defined, %d changed", made, changed)
	return nil
}

// setUUID sets the one fact that lsdef has no name for.
func setUUID(tx *nodedb.Tx, name string, facts map[string]string) {
	if v := facts["vpd.uuid"]; v != "" {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: name}, "vpd.uuid", v)
	}
}

// scanTable prints one line a guest, as xCAT does of the guests of its other
// hypervisors; "differs" names what -u would change.
func (s *Session) scanTable(found []vm.Scanned) {
	if len(found) == 0 {
		return
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "type\tname\thypervisor\tid\tcpu\tmemory\tnic\tdisk\ttable")
	for _, g := range found {
		v := g.VM
		var nics, disks []string
		if v.Spec != nil {
			for _, n := range v.Spec.NICs {
				nics = append(nics, n.Network)
			}
			for _, d := range v.Spec.Disks {
				disks = append(disks, d.Path.String())
			}
		}
		fmt.Fprintf(w, "esx\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", v.Name, g.Host, v.ID, v.CPUs, v.MemoryMB, list(nics), list(disks), verdict(g))
	}
	w.Flush()
	for line := range strings.Lines(b.String()) {
		s.Line("%s", strings.TrimRight(line, " \n"))
	}
}

func list(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}

func verdict(g vm.Scanned) string {
	switch {
	case g.Err != nil:
		return "not usable"
	case g.Node == nil:
		return "new"
	case len(g.Differ) > 0:
		return "differs: " + strings.Join(g.Differ, ",")
	}
	return "same"
}

func (s *Session) scanStanzas(found []vm.Scanned) {
	s.Line("# <xCAT data object stanza file>")
	for _, g := range found {
		if g.Err != nil {
			continue
		}
		s.Line("")
		s.Line("%s:", g.VM.Name)
		s.Line("    objtype=node")
		groups := "vm,all"
		if g.Node != nil {
			groups = g.Node.Attr("nodelist.groups")
		}
		s.Line("    groups=%s", groups)
		for _, a := range scanAttrs(g.Facts) {
			s.Line("    %s=%s", a.Attr, a.Value)
		}
	}
}

// A scanNode is a guest in rscan's XML.
type scanNode struct {
	XMLName xml.Name `xml:"Node"`
	CPUs    string   `xml:"cpu"`
	GuestOS string   `xml:"guestos,omitempty"`
	Groups  string   `xml:"groups,omitempty"`
	Host    string   `xml:"hypervisor"`
	ID      string   `xml:"id"`
	MAC     string   `xml:"mac,omitempty"`
	Memory  string   `xml:"memory"`
	Mgt     string   `xml:"mgt"`
	NICs    string   `xml:"nic,omitempty"`
	Name    string   `xml:"node"`
	Disks   string   `xml:"disk,omitempty"`
	UUID    string   `xml:"uuid,omitempty"`
}

func (s *Session) scanXML(found []vm.Scanned) error {
	for _, g := range found {
		if g.Err != nil {
			continue
		}
		f := g.Facts
		n := scanNode{CPUs: f["vm.cpus"], GuestOS: f["vm.guestostype"], Host: g.Host, ID: g.VM.ID, MAC: f["mac.mac"], Memory: strconv.FormatInt(g.VM.MemoryMB, 10),
			Mgt: "esx", NICs: f["vm.nics"], Name: g.VM.Name, Disks: f["vm.storage"], UUID: f["vpd.uuid"]}
		if g.Node == nil {
			n.Groups = "vm,all"
		}
		b, err := xml.MarshalIndent(n, "", "  ")
		if err != nil {
			return err
		}
		s.Text(string(b) + "\n")
	}
	return nil
}
