package provision

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// Observe takes note of what a service did for a machine.
func (s *Service) Observe(e netboot.Event) {
	if s.dry(e.Machine) {
		return
	}
	snap := s.DB.Snapshot()
	node := e.Node
	if node == "" {
		node = s.nodeAt(snap, e.Machine)
	}
	if no, ok := errors.AsType[*netboot.Refusal](e.Err); ok && no.Alarm {
		s.journal.alarm(node)
	}
	if e.Step == netboot.StepRefused && !sought(e) {
		s.explain(snap, node, e)
	}
	if node == "" {
		return // not ours
	}
	n, err := snap.Node(node)
	if err != nil {
		return // nor any more
	}
	switch e.Step {
	case netboot.StepOffer, netboot.StepAck, netboot.StepNak:
		s.journal.dhcp(n, e)
	case netboot.StepFile:
		s.journal.file(n, e)
	case netboot.StepRefused:
		if !sought(e) {
			s.journal.stepBy(e.Machine, n.Name, n.Mode, StepRefused, refusedText(e))
		}
	case netboot.StepForeign:
		s.journal.stepBy(e.Machine, n.Name, n.Mode, StepRefused, foreignText(e))
	}
}

// sought says whether a file was looked for that need not be there: by TFTP
// iPXE looks for autoexec.ipxe.
func sought(e netboot.Event) bool {
	return errors.Is(e.Err, netboot.ErrNotFound) && (e.Proto == "tftp" || optional(e.Name))
}

// foreignText is what becomes of a machine that another DHCP server won.
func foreignText(e netboot.Event) string {
	return fmt.Sprintf("dhcp: it took what %s offered, another DHCP server on %s; stop that one, or serve with --interface %s=proxy",
		e.Machine.Server, e.Machine.Interface, e.Machine.Interface)
}

// optional says whether shim and GRUB look for a file that need not be there:
// revocations, further certificates, modules and their lists, fonts.
func optional(name string) bool {
	base := strings.ToLower(path.Base(name))
	for _, prefix := range []string{"revocations", "shim_certificate", grubMenu} {
		if strings.HasPrefix(base, prefix) {
			return true
		}
	}
	switch path.Ext(base) {
	case ".lst", ".mod", ".pf2":
		return true
	}
	return false
}

func refusedText(e netboot.Event) string {
	text := e.Proto
	if e.Name != "" {
		text += " " + e.Name
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// dhcp notes an address that was offered or given. Firmware's first offer
// begins a boot.
func (j *journal) dhcp(n *nodedb.Node, e netboot.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.track(n.Name)
	m := e.Machine
	firmware := (m.PXE || m.HTTPBoot) && !m.Loader
	if firmware {
		t.firmware, t.httpBoot = m.Firmware, m.HTTPBoot
	}
	if firmware && e.Step == netboot.StepOffer && t.bootIsUnderWay() {
		t.begin(j.now(), n.Mode)
	}
	if !firmware && !m.Loader && t.idle() {
		return // the running system renews its lease
	}
	if e.Step == netboot.StepOffer {
		j.addBy(e.Machine, n.Name, n.Mode, StepDHCP, asker(m)+" asks, "+offered(e))
	} else if e.Step == netboot.StepNak {
		j.addBy(e.Machine, n.Name, n.Mode, StepDHCP, fmt.Sprintf("%s asks for %s, which is not its address; told so", asker(m), m.Requested))
	}
}

// offered is what an OFFER has for a machine; in proxy mode its address is
// another server's to give.
func offered(e netboot.Event) string {
	if e.Machine.Proxy {
		return "told to boot " + e.Name
	}
	return "offered " + e.Addr.String()
}

// bootIsUnderWay says whether the running boot is past its first words, so
// that firmware asking again means a new boot.
func (t *track) bootIsUnderWay() bool {
	tl := t.current()
	return tl == nil || tl.Over || tl.Has(StepScript) || tl.Has(StepBootLoader) || tl.Has(StepLoader)
}

// idle says whether no boot runs.
func (t *track) idle() bool {
	tl := t.current()
	return tl == nil || tl.Over || tl.Has(StepInstalled)
}

func asker(m netboot.Machine) string {
	switch {
	case m.Loader:
		return "iPXE"
	case m.HTTPBoot:
		return m.Firmware.String() + " HTTP boot"
	case m.PXE:
		return m.Firmware.String() + " PXE"
	}
	return "the system"
}

// file notes a file that was sent.
func (j *journal) file(n *nodedb.Node, e netboot.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Machine.Head {
		if e.Done && path.Base(e.Name) == "ks.cfg" {
			j.addBy(e.Machine, n.Name, n.Mode, StepReport, "asked how long its kickstart is")
		}
		return
	}
	name := strings.ToLower(e.Name)
	if j.module(n, name, e) {
		return
	}
	if !e.Done || e.Err != nil {
		return
	}
	if step, text := fileStep(n, name, e); step != "" {
		if tl := j.track(n.Name).current(); step == StepKickstart && tl != nil && tl.Has(StepKickstart) {
			text += " again"
		}
		j.addBy(e.Machine, n.Name, n.Mode, step, text)
	}
}

// module counts a file that boot.cfg names. A loader may ask for a file twice;
// it counts once.
func (j *journal) module(n *nodedb.Node, name string, e netboot.Event) bool {
	t := j.track(n.Name)
	tl := t.current()
	if t.expect == nil || t.loaded[name] || tl == nil || tl.Load == nil {
		return false
	}
	size, ok := t.expect.size[name]
	if !ok {
		return false
	}
	l := tl.Load
	l.Current, l.Whole = name, size
	l.Last = j.now()
	if l.First.IsZero() {
		l.First = l.Last
		j.addBy(e.Machine, n.Name, n.Mode, StepModules, fmt.Sprintf("fetches %d modules, %.1f MB", l.Total, float64(l.Size)/1e6))
	}
	if e.Done && e.Err == nil && e.Bytes >= size {
		if t.loaded == nil {
			t.loaded = map[string]bool{}
		}
		t.loaded[name] = true
		l.Count++
		l.Bytes += size
		if l.Count == l.Total {
			j.addBy(e.Machine, n.Name, n.Mode, StepModules, l.String())
		}
	}
	j.nudge()
	return true
}

// fileStep is the step that a sent file stands for.
func fileStep(n *nodedb.Node, name string, e netboot.Event) (StepName, string) {
	base := path.Base(name)
	switch {
	case base == "script" && n.Mode == nodedb.ModeBoot, base == "exit.efi":
		return StepLocalBoot, "told to boot from its disk"
	case base == grubMenu:
		return StepScript, "has its grub.cfg"
	case e.Proto == "tftp":
		return StepLoader, fmt.Sprintf("%s by TFTP, %d bytes", base, e.Bytes)
	case base == "script":
		return StepScript, "has its iPXE script"
	case strings.HasPrefix(base, "grub") && strings.HasSuffix(base, ".efi"):
		return StepBootLoader, base + ", the distribution's own GRUB"
	case base == "mboot.c32", strings.HasPrefix(base, "boot") && strings.HasSuffix(base, ".efi"), base == "mboot.efi":
		return StepBootLoader, base + ", the medium's own boot loader"
	case base == "boot.cfg":
		return StepBootConfig, "has its boot.cfg"
	case base == "ks.cfg":
		return StepKickstart, "has its kickstart"
	case base == "preseed.cfg", base == "user-data", base == "autoinst.xml":
		return StepKickstart, "has its answer file, " + base
	case base == "mypostscript":
		return StepReport, "has its list of postscripts"
	}
	return "", ""
}
