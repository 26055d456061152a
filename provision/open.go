package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// Open finds the file that a machine asks for by TFTP or HTTP:
//
//	boot/<node>/<file>   made for that node, and sent to its address only
//	install/<os>/<arch>/ an install tree; names are matched without case
//	.../grub.cfg*        the menu of the node that asks: GRUB looks for it where it
//	                     was built to
//	xcat/xnba.kpxe, ...  boot loaders; nothing in them is secret
func (s *Service) Open(ctx context.Context, m netboot.Machine, name string) (*netboot.File, error) {
	name, query, _ := strings.Cut(name, "?")
	name = strings.TrimPrefix(name, "tftpboot/")
	first, rest, _ := strings.Cut(name, "/")
	snap := s.DB.Snapshot()
	switch {
	case asksMenu(name):
		return s.openBoot(snap, m, s.nodeAt(snap, m)+"/"+grubMenu, query)
	case first == "boot":
		return s.openBoot(snap, m, rest, query)
	case first == "discover":
		body, err := s.openDiscover(snap, m, rest, query)
		if err != nil {
			return nil, err
		}
		return made(rest, "", body), nil
	case first == "install":
		return s.openTree(snap, m, rest)
	case strings.HasPrefix(name, "xcat/xnba/nodes/"):
		node := strings.TrimSuffix(path.Base(name), ".uefi")
		return s.openBoot(snap, m, node+"/script", query)
	}
	return s.openLoader(snap, m, name)
}

// asksMenu says whether a name is one under which GRUBs look for their menu,
// other than a node's own address for it.
func asksMenu(name string) bool {
	dir, base := path.Split(name)
	if path.Dir(path.Clean(dir)) == "boot" && base == grubMenu {
		return false
	}
	return strings.HasPrefix(base, grubMenu)
}

// openLoader looks where the operator may have put a loader of his own, then
// among the built-in ones.
func (s *Service) openLoader(snap *nodedb.Snapshot, m netboot.Machine, name string) (*netboot.File, error) {
	name = strings.TrimPrefix(name, "xcat/")
	if !plainName(name) {
		return nil, netboot.ErrNotFound
	}
	for _, dir := range s.loader {
		for _, as := range loaderNames(name) {
			f, err := openFS(dir, as)
			if err != nil {
				continue
			}
			f.Name = name
			f.Node = s.nodeAt(snap, m)
			return f, nil
		}
	}
	return nil, netboot.ErrNotFound
}

// loaderNames are the names under which a loader may lie: ours, then those of
// iPXE's own builds.
func loaderNames(name string) []string {
	switch name {
	case "xnba.kpxe":
		return []string{"xnba.kpxe", "undionly.kpxe"}
	case "xnba.efi":
		return []string{"xnba.efi", "snponly.efi", "ipxe.efi"}
	case "xnba-arm64.efi":
		return []string{"xnba-arm64.efi", "snp-arm64.efi", "snp.efi"}
	case discName:
		return []string{discName, "ipxe.iso"}
	}
	return []string{name}
}

// openTree opens a file of an install tree. Such files are no secret: any
// machine may read them, and those of a node are counted to its boot.
func (s *Service) openTree(snap *nodedb.Snapshot, m netboot.Machine, name string) (*netboot.File, error) {
	if !fs.ValidPath(name) {
		name = path.Clean("/" + name)[1:]
	}
	osName, name, _ := strings.Cut(name, "/")
	arch, name, ok := strings.Cut(name, "/")
	if !ok {
		return nil, netboot.ErrNotFound
	}
	f, err := s.openTreeFile(snap, osName, arch, name)
	if err != nil && name == mediumName {
		f, err = s.openMediumFile(snap, osName, arch)
	}
	if err != nil {
		return nil, err
	}
	f.Name = name
	f.Node = s.nodeAt(snap, m)
	return f, nil
}

func (s *Service) openTreeFile(snap *nodedb.Snapshot, osName, arch, name string) (*netboot.File, error) {
	kept := s.treeFile(snap, osName, arch, name)
	if kept != "" {
		if f := s.open.open(kept); f != nil {
			return f, nil
		}
	}
	tree, err := s.tree(snap, osName, arch)
	if err != nil {
		return nil, netboot.ErrNotFound
	}
	f, err := openFold(tree, name)
	if err != nil {
		return nil, err
	}
	if own, ok := f.Body.(*os.File); ok && kept != "" && own.Name() == filepath.Clean(kept) {
		return s.open.keep(kept, own)
	}
	return f, nil
}

// openMediumFile opens the whole medium of a tree.
func (s *Service) openMediumFile(snap *nodedb.Snapshot, osName, arch string) (*netboot.File, error) {
	name, err := s.wholeMedium(snap, osName, arch)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, netboot.ErrNotFound
	}
	return asFile(f)
}

// openFold opens a regular file, matching each element without case when the
// name as asked for is not there: media are in upper case, their boot.cfg in
// lower.
func openFold(tree fs.FS, name string) (*netboot.File, error) {
	f, err := openFS(tree, name)
	if err == nil {
		return f, nil
	}
	if real, ok := foldName(tree, name); ok && real != name {
		return openFS(tree, real)
	}
	return nil, netboot.ErrNotFound
}

func openFS(fsys fs.FS, name string) (*netboot.File, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, netboot.ErrNotFound
	}
	return asFile(f)
}

func asFile(f fs.File) (*netboot.File, error) {
	fi, err := f.Stat()
	body, ok := f.(readSeekCloser)
	if err != nil || !ok || !fi.Mode().IsRegular() {
		f.Close()
		return nil, netboot.ErrNotFound
	}
	return &netboot.File{Body: body, Size: fi.Size(), ModTime: fi.ModTime()}, nil
}

type readSeekCloser interface {
	fs.File
	Seek(offset int64, whence int) (int64, error)
}

// foldName finds name in fsys whatever the case of its elements.
func foldName(fsys fs.FS, name string) (string, bool) {
	dir := "."
	for _, want := range strings.Split(name, "/") {
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil {
			return "", false
		}
		found := false
		for _, e := range entries {
			if strings.EqualFold(e.Name(), want) {
				dir, found = path.Join(dir, e.Name()), true
				break
			}
		}
		if !found {
			return "", false
		}
	}
	return dir, true
}

// openBoot makes or finds a file of one node's boot.
func (s *Service) openBoot(snap *nodedb.Snapshot, m netboot.Machine, name, query string) (*netboot.File, error) {
	nodeName, file, ok := strings.Cut(name, "/")
	if !ok {
		return nil, netboot.ErrNotFound
	}
	n, err := snap.Node(nodeName)
	if err != nil {
		return nil, netboot.ErrNotFound
	}
	if err := s.mayHave(n, m); err != nil {
		if file == "exit.efi" { // nothing in it is anyone's own; a probe asks for it by TFTP
			return made(file, "", exitEFI()), nil
		}
		return nil, err
	}
	body, as, err := s.make(snap, n, m, file, query)
	if err != nil {
		return nil, err
	}
	if as != nil {
		as.Node = n.Name
		return as, nil
	}
	return made(file, n.Name, body), nil
}

// made is a file made for one request.
func made(name, node string, body []byte) *netboot.File {
	return &netboot.File{Name: name, Node: node, Body: memory{bytes.NewReader(body)}, Size: int64(len(body)), Type: "text/plain"}
}

// mayHave refuses a node's files to all addresses but the node's own.
func (s *Service) mayHave(n *nodedb.Node, m netboot.Machine) error {
	if s.plays(m, n.Name) || (m.Addr.IsValid() && s.ownsAddr(n, m.Addr)) {
		return nil
	}
	return alarm(n.Name,
		"these files are for node %s at %s only, and you ask from %s; correct the node's ip if this is that machine", n.Name, addrText(n.Addr), m.Addr)
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "no address"
	}
	return a.String()
}

// ownsAddr says whether an address is one that the node may ask from.
func (s *Service) ownsAddr(n *nodedb.Node, a netip.Addr) bool {
	if a == n.Addr {
		return true
	}
	return a.IsValid() && len(n.MACs) > 0 && slices.Contains(dhcpAddrs(s.DB.Snapshot(), n), a)
}

// make renders one file of a node's boot, or opens it from the install tree.
func (s *Service) make(snap *nodedb.Snapshot, n *nodedb.Node, m netboot.Machine, file, query string) ([]byte, *netboot.File, error) {
	if file == "exit.efi" {
		return exitEFI(), nil, nil
	}
	if file == destinyName && !n.Mode.Works() {
		return []byte("id=leave\nstep=leave\n"), nil, nil // its work is done: it boots again
	}
	if n.Mode.Loads() {
		return s.makeInstall(snap, n, m, file, query)
	}
	if file != "script" {
		return nil, nil, &netboot.Refusal{Node: n.Name, Alarm: strings.HasPrefix(query, "t="), Reason: fmt.Sprintf(
			"node %s is set to %q, so there is no %s for it; run nodeset %s install to install it", n.Name, n.CurrState, file, n.Name)}
	}
	return exitScript(n.CurrState, nothing(n)), nil, nil
}

// nothing is what a machine's screen says that has nothing to boot from us; ""
// where it is meant to go on to its disk.
func nothing(n *nodedb.Node) string {
	switch n.Mode {
	case nodedb.ModeNone:
		return fmt.Sprintf("node %s: nothing to boot: nodeset was never run for it. On the server: nodeset %s osimage=IMAGE", n.Name, n.Name)
	case nodedb.ModeOffline:
		return fmt.Sprintf("node %s: nothing to boot: nodeset offline", n.Name)
	}
	return ""
}

func (s *Service) makeInstall(snap *nodedb.Snapshot, n *nodedb.Node, m netboot.Machine, file, query string) ([]byte, *netboot.File, error) {
	a := attempt(snap, n.Name)
	try, held := s.try(n.Name, a, file, m)
	if held != "" {
		return s.heldFile(n, file, held)
	}
	from := s.origin(snap, n, a, try, m)
	key := renderedKey{n.Name, plainFile(file)}
	var seen *witness
	if s.isKept(key.file, m) {
		if r := s.renders.get(key, from, s.Now()); r != nil {
			s.journal.expect(n.Name, r.modules)
			return r.text, nil, nil
		}
		seen = &witness{}
	}
	b, f, err := s.bootSeen(snap, n, current(snap, n), from.server, seen)
	if err != nil {
		return nil, nil, &netboot.Refusal{Node: n.Name, Reason: err.Error()}
	}
	b.withTry(a, from)
	if !s.dry(m) {
		b.HostKey = func() ([]byte, error) {
			seen.secret()
			return s.hostKey(n.Name)
		}
	}
	if b.HTTPBoot || file == "bootx64.efi" || file == "crypto64.efi" {
		b.HTTPBoot = true
	}
	if isBootProgram(file) && treeFile(f, b, file) == "" && slices.Contains(f.Files(b), "script") {
		lf, err := s.openLoader(snap, m, ipxeFor(b.Firmware)) // no loader of the medium's own: iPXE, by HTTP
		return nil, lf, err
	}
	if tree := treeFile(f, b, file); tree != "" {
		tf, err := openFold(b.Tree, tree)
		if err != nil {
			return nil, nil, err
		}
		tf.Name = file
		return nil, tf, nil
	}
	name, err := s.generated(b, f, a, m, file, query)
	if err != nil {
		return nil, nil, err
	}
	if b.Secure != "" && b.Mode == nodedb.ModeInstall && !m.TLS && name != "script" && name != "boot.cfg" {
		return nil, nil, &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf(
			"%s of node %s is sent by HTTPS only, as httpmethod says; ask at %s, or chdef %s esxihttpmethod=http", name, n.Name, b.Secure, n.Name)}
	}
	text, err := f.Make(b, name)
	if errors.Is(err, nodedb.ErrNotFound) {
		return nil, nil, netboot.ErrNotFound
	}
	if err != nil {
		return nil, nil, &netboot.Refusal{Node: n.Name, Reason: err.Error()}
	}
	r := &rendered{text: text, from: from, seen: seen}
	if namesModules(b, f, name) && !s.dry(m) {
		r.modules = modulesOf(b, f)
		s.journal.expect(n.Name, r.modules)
	}
	if seen != nil {
		s.renders.put(key, r, s.Now())
	}
	return text, nil, nil
}

// destinyName is the file in which a machine that works reads what it is to do.
const destinyName = "destiny"

// grubMenu is what GRUB reads in place of a script.
const grubMenu = "grub.cfg"

// namesModules says whether a file is the one from which the machine learns
// what to load next: boot.cfg, or the script where there is none.
func namesModules(b *Boot, f Family, name string) bool {
	return name == "boot.cfg" || name == grubMenu || name == "script" && !slices.Contains(f.Files(b), "boot.cfg")
}

// A companion is a family whose loader asks for others beside itself.
type companion interface {
	// Companion is such a program's path in the install tree; "" if none.
	Companion(b *Boot, file string) string
}

// treeFile is the path in the install tree of a boot program that firmware
// asks for without iPXE: the medium's own, signed as its vendor signed it.
func treeFile(f Family, b *Boot, file string) string {
	loader, err := f.Loader(b)
	if err != nil {
		return ""
	}
	switch strings.ToLower(file) {
	case "bootx64.efi", "bootaa64.efi", "shimx64.efi", "shimaa64.efi", "mboot.efi":
		return loader
	case "crypto64.efi":
		return path.Join(path.Dir(loader), "crypto64.efi")
	}
	if c, ok := f.(companion); ok {
		return c.Companion(b, file)
	}
	return ""
}

// generated is the family's name for a file, if this boot may have it now.
func (s *Service) generated(b *Boot, f Family, a *Attempt, m netboot.Machine, file, query string) (string, error) {
	file = plainFile(file)
	// Installers that put names behind an address take a token before them:
	// t/TOKEN/user-data is user-data?t=TOKEN.
	if rest, ok := strings.CutPrefix(file, "t/"); ok {
		token, rest, _ := strings.Cut(rest, "/")
		file, query = rest, "t="+token
	}
	for _, name := range f.Files(b) {
		if name != file {
			continue
		}
		if name == "script" || name == "boot.cfg" || name == grubMenu || name == destinyName || s.dry(m) {
			return name, nil
		}
		return name, s.secretFits(b, f, a, m, name, query)
	}
	return "", netboot.ErrNotFound
}

// ipxeFor is the iPXE that runs on UEFI firmware.
func ipxeFor(fw netboot.Firmware) string {
	if fw == netboot.UEFIARM64 {
		return loaderARM64
	}
	return loaderUEFI
}

// memory is a file made for one request.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// nodeAt is the name of the node whose address m asks from, or that it plays,
// or "".
func (s *Service) nodeAt(snap *nodedb.Snapshot, m netboot.Machine) string {
	if node, _, ok := s.probed(m); ok {
		return node
	}
	if n := snap.NodeByMAC(m.MAC); n != nil {
		return n.Name
	}
	if n := snap.NodeByAddr(m.Addr); n != nil {
		return n.Name
	}
	return ""
}
