package command

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/vmdk"
)

var imageCmd = &Command{
	Name: "image",
	Usage: "list | show image | import image file|folder|url | verify [image...] | rm image... | load image noderange | " +
		"capture node image | convert file file | seal [node]",
	Short: "images that guests are made of: take in, convert, copy to hosts, capture",
	Long: `Images that guests are made of, in the repository: a folder for each below
<installdir>/images or site.vmimagedir, served over HTTP below /install/images.

import takes in a disk's file of any format that is read (vmdk with all of its
files, qcow2, vdi, raw), a folder or a .tar.gz archive with one disk and nothing
else, an .iso, or any of those from an address; the address may be that of the
file of data, NAME-flat.vmdk, or of another margay's image.json. Sums are
recorded. load copies an image to a datastore of hosts, where it is not; a host
that has the repository mounted (site.vmimageexport) copies by itself. Nothing
is ever deleted to make room without --make-room. capture copies a guest's
disks into an image; seal says what a guest needs before, and with --script
prints what does it. mkvm --image makes guests.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.String("as", "", "import, capture: format to keep disks in: "+strings.Join(vmdk.Formats(), ", "))
		f.String("description", "", "import, capture: a word on the image")
		f.String("sha256", "", "import: the sum that the file must have")
		f.String("md5", "", "import: the sum that the file must have")
		f.BoolP("force", "f", false, "import, capture, convert: in the place of one that is there")
		f.String("datastore", "", "load: the datastore; the host's only one if empty")
		f.String("format", "", "load: thin, zeroedthick or eagerzeroedthick; convert: format to write")
		f.Bool("make-room", false, "load: delete other images that no guest uses, if there is no room")
		f.Bool("replace", false, "load: in the place of another version")
		f.Bool("script", false, "seal: print the script that seals a guest")
	},
	Complete: completeImage,
	Run:      image,
}

func completeImage(s *Session, args []string, word string) []string {
	if len(args) == 0 {
		return withPrefix([]string{"list", "show", "import", "verify", "rm", "load", "capture", "convert", "seal"}, word)
	}
	switch {
	case args[0] == "load" && len(args) == 2, (args[0] == "capture" || args[0] == "seal") && len(args) == 1:
		return s.completeRange(word)
	case args[0] == "import" || args[0] == "convert":
		return nil
	}
	r, err := s.repository()
	if err != nil {
		return nil
	}
	var names []string
	list, _ := r.List()
	for _, i := range list {
		names = append(names, i.Name)
	}
	return withPrefix(names, word)
}

// repository is where images are, as the site table says.
func (s *Session) repository() (*vm.Repository, error) {
	snap := s.DB.Snapshot()
	r := &vm.Repository{Dir: snap.Site("vmimagedir"), Open: OpenDisk}
	if r.Dir == "" {
		r.Dir = filepath.Join(s.installDir(snap), "images")
	}
	if e := snap.Site("vmimageexport"); e != "" {
		l, err := vm.ParseLocation(e)
		if err != nil || l.Scheme != vm.NFS {
			return nil, fmt.Errorf("site.vmimageexport %q: write nfs://server/path", e)
		}
		r.Export = &l
	}
	return r, nil
}

func (s *Session) installDir(snap *nodedb.Snapshot) string {
	if s.Service != nil {
		return s.Service.InstallDir(snap)
	}
	return snap.Site("installdir")
}

func image(ctx context.Context, s *Session, args []string) error {
	if len(args) == 0 {
		args = []string{"list"}
	}
	r, err := s.repository()
	if err != nil {
		return err
	}
	word, args := args[0], args[1:]
	wants, ok := map[string][2]int{"list": {0, 0}, "show": {1, 1}, "import": {2, 2}, "verify": {0, 1 << 20}, "rm": {1, 1 << 20},
		"load": {2, 2}, "capture": {2, 2}, "convert": {2, 2}, "seal": {0, 1}}[word]
	if !ok {
		return Usagef("%q: one of list, show, import, verify, rm, load, capture, convert, seal is wanted", word)
	}
	if len(args) < wants[0] || len(args) > wants[1] {
		return Usagef("%s: too few or too many operands", word)
	}
	switch word {
	case "import":
		return imageImport(ctx, s, r, args[0], args[1])
	case "load":
		return imageLoad(ctx, s, r, args[0], args[1])
	case "capture":
		return imageCapture(ctx, s, r, args[0], args[1])
	case "convert":
		return imageConvert(s, args[0], args[1])
	case "seal":
		return imageSeal(ctx, s, args)
	}
	return imageKept(ctx, s, r, word, args)
}

// imageKept looks at images that there are.
func imageKept(ctx context.Context, s *Session, r *vm.Repository, word string, args []string) error {
	if word == "list" {
		list, err := r.List()
		for _, i := range list {
			s.Line("%s: %s, %d MB in files, %s%s", i.Name, diskWords(i), i.Bytes()>>20, i.Created.Local().Format("2006-01-02"), dash(i.Description))
		}
		return err
	}
	if word == "verify" && len(args) == 0 {
		list, err := r.List()
		if err != nil {
			return err
		}
		for _, i := range list {
			args = append(args, i.Name)
		}
	}
	for _, name := range args {
		img, err := r.Image(name)
		if err == nil {
			switch word {
			case "show":
				imageShow(s, r, img)
			case "verify":
				err = imageVerify(ctx, s, r, img)
			case "rm":
				err = r.Remove(name)
			}
		}
		if err != nil {
			s.Error("%v", err)
		}
	}
	return nil
}

func dash(text string) string {
	if text == "" {
		return ""
	}
	return ", " + text
}

func diskWords(i *vm.Image) string {
	if i.Disc {
		return "a disc"
	}
	var out []string
	for _, d := range i.Disks {
		out = append(out, fmt.Sprintf("%s of %d MB", d.Format, d.Bytes>>20))
	}
	return strings.Join(out, " and ")
}

func imageShow(s *Session, r *vm.Repository, i *vm.Image) {
	label := func(name, value string) {
		if value != "" {
			s.Line("%s: %s", name, value)
		}
	}
	label("name", i.Name)
	label("description", i.Description)
	label("origin", i.Origin)
	label("created", i.Created.Local().Format("2006-01-02 15:04:05"))
	label("creator", i.Creator)
	label("guestid", i.GuestID)
	label("firmware", i.Firmware)
	label("controller", string(i.Bus))
	for _, d := range i.Disks {
		label("disk", fmt.Sprintf("%s, %s, %d bytes", d.Name, d.Format, d.Bytes))
		for _, f := range d.Files {
			label("file", fmt.Sprintf("%s, %d bytes, sha256 %s, md5 %s", r.Path(i, f.Name), f.Size, f.SHA256, f.MD5))
			if s.DB.Snapshot().Site("vmimagedir") == "" { // then it is below what HTTP serves
				label("path", "/install/images/"+i.Name+"/"+f.Name)
			}
		}
	}
}

func imageVerify(ctx context.Context, s *Session, r *vm.Repository, i *vm.Image) error {
	faults, err := r.Verify(ctx, i, progressBar(s))
	if err != nil {
		return err
	}
	for _, f := range faults {
		s.Error("%s: %s", i.Name, f)
	}
	if len(faults) == 0 {
		s.Line("%s: as it was taken in", i.Name)
	}
	return nil
}

func imageLoad(ctx context.Context, s *Session, r *vm.Repository, name, noderange string) error {
	img, err := r.Image(name)
	if err != nil {
		return err
	}
	format, err := vm.ParseFormat(s.String("format"))
	if err != nil {
		return err
	}
	snap := s.DB.Snapshot()
	hosts, _, err := s.hypervisors(snap, []string{noderange})
	if err != nil {
		return err
	}
	for _, h := range hosts {
		if err := imageLoadOn(ctx, s, snap, r, img, h.Name, format); err != nil {
			s.NodeError(h.Name, err)
		}
	}
	return nil
}

func imageLoadOn(ctx context.Context, s *Session, snap *nodedb.Snapshot, r *vm.Repository, img *vm.Image, host string, format vm.Format) error {
	ds := s.String("datastore")
	if ds == "" {
		files, err := s.Guests.Files(ctx, snap, host)
		if err != nil {
			return err
		}
		list := files.Datastores()
		if len(list) != 1 {
			return fmt.Errorf("it has %d datastores; name one with --datastore", len(list))
		}
		ds = list[0].Name
	}
	out, err := s.Guests.LoadImage(ctx, snap, host, vm.LoadRequest{Image: img, From: r, Datastore: ds, Format: format,
		MakeRoom: s.Bool("make-room"), Replace: s.Bool("replace")}, func(p int) { s.Progress("%s: %d%%", host, p) })
	for _, n := range out.Freed {
		s.Node(host, "deleted image %s to make room", n)
	}
	if err != nil {
		return err
	}
	how := "there already"
	if out.Copied {
		how = out.How
	}
	for _, p := range out.Disks {
		s.Node(host, "%s: %s", p, how)
	}
	return nil
}

func imageCapture(ctx context.Context, s *Session, r *vm.Repository, node, name string) error {
	format := ""
	if as := s.String("as"); as != "" {
		var err error
		if format, err = vmdk.ParseFormat(as); err != nil {
			return err
		}
	}
	snap := s.DB.Snapshot()
	nodes, _, err := s.guests(snap, []string{node}, "nodehm.mgt")
	if err != nil {
		return err
	}
	if len(nodes) > 1 {
		return Usagef("capture wants one node")
	}
	for _, n := range nodes {
		img := &vm.Image{Name: name, Description: s.String("description"), Origin: "guest " + n.Name, Creator: s.Req.User, OS: n.OS, Arch: n.Arch}
		notes, err := s.Guests.Capture(ctx, snap, n, r, img, format, s.Bool("force"), func(p int) { s.Progress("%s: %d%%", n.Name, p) })
		for _, note := range notes {
			s.NodeWarn(n.Name, "%s", note)
		}
		if err != nil {
			s.NodeError(n.Name, err)
			continue
		}
		s.Node(n.Name, "captured as image %s: %s", name, diskWords(img))
	}
	return nil
}

func imageConvert(s *Session, from, to string) error {
	from, to = s.Path(from), s.Path(to)
	format := s.String("format")
	if format == "" {
		format = strings.TrimPrefix(strings.ToLower(filepath.Ext(to)), ".")
	}
	if format == "img" {
		format = vmdk.FormatRaw
	}
	format, err := vmdk.ParseFormat(format)
	if err != nil {
		return err
	}
	src, err := openDisk(from)
	if err != nil {
		return err
	}
	defer src.Close()
	if s.Bool("force") {
		if st, err := os.Stat(to); err == nil && st.Mode().IsRegular() {
			if old, err := openDisk(to); err == nil {
				for _, f := range old.Files() {
					defer os.Remove(filepath.Join(filepath.Dir(to), f+".old"))
					os.Rename(filepath.Join(filepath.Dir(to), f), filepath.Join(filepath.Dir(to), f+".old"))
				}
				old.Close()
			}
		}
	}
	files, err := src.Convert(filepath.Dir(to), filepath.Base(to), format, progressBar(s))
	if err != nil {
		return err
	}
	s.Line("%s: %s of %d bytes, from %s: %s", to, format, src.Size(), src.format, strings.Join(files, " "))
	return nil
}

// imageSeal says what a guest needs before it is captured, or prints the
// script that does it.
func imageSeal(ctx context.Context, s *Session, args []string) error {
	if s.Bool("script") {
		s.Text(vm.SealScript())
		return nil
	}
	for _, line := range vm.SealList() {
		s.Line("[ ] %s", line)
	}
	if len(args) == 0 {
		return nil
	}
	nodes, _, err := s.guests(s.DB.Snapshot(), args, "nodehm.mgt")
	if err != nil {
		return err
	}
	for _, n := range nodes {
		faults, err := s.Guests.Sealed(ctx, s.DB.Snapshot(), n)
		if err != nil {
			s.NodeError(n.Name, err)
			continue
		}
		for _, f := range faults {
			s.NodeError(n.Name, fmt.Errorf("%s", f))
		}
		if len(faults) == 0 {
			s.Node(n.Name, "nothing stands against capturing it, as far as its host can tell")
		}
	}
	return nil
}
