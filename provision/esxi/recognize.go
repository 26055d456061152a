package esxi

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// Recognize implements provision.Family. What a medium is follows from what is
// on it, never from a list of builds.
func (f *Family) Recognize(medium fs.FS) (*provision.Release, error) {
	t := newTree(medium)
	cfgs, err := configs(t)
	if err != nil || len(cfgs) == 0 {
		return nil, err
	}
	id, err := identify(t, cfgs[0])
	if err != nil {
		return nil, err
	}
	if id.version == nil {
		return nil, errors.New("this is ESXi installer media, but nothing on it says of which version; upgrade/metadata.xml and boot.cfg's build= are missing")
	}
	rel := id.release(t)
	seen := map[string]bool{}
	for _, c := range cfgs {
		modules, err := files(t, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rel.Title, err)
		}
		for _, m := range modules {
			if !seen[m.Name] {
				seen[m.Name] = true
				rel.Modules = append(rel.Modules, m)
			}
		}
	}
	return rel, hasLoader(t, id.version)
}

// configs are the boot configurations of a medium of ours: boot.cfg and UEFI's
// own, or ESXi 4's boot line; none for a medium of another family.
func configs(t *tree) ([]*Config, error) {
	var out []*Config
	for _, name := range []string{biosConfig, uefiConfig} {
		text, err := t.read(name)
		if err != nil {
			return nil, err
		}
		c, err := ParseConfig(text)
		if err == nil && c.Kernel().Path != "" && len(c.Modules()) > 0 { // others have a boot.cfg too
			out = append(out, c)
		} else if text != "" && isOurs(t) {
			if err == nil {
				err = errors.New("no kernel= or modules= line")
			}
			return nil, fmt.Errorf("this is ESXi installer media, but its %s: %w", name, err)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return config4(t)
}

const (
	biosConfig = "boot.cfg"
	uefiConfig = "efi/boot/boot.cfg"
)

func isOurs(t *tree) bool { return t.has("upgrade/metadata.xml") || t.has("vmware-esx-base-readme") }

// config4 is the boot line of ESXi 4 media. Older products, and ESX with its
// service console, are named for what they are.
func config4(t *tree) ([]*Config, error) {
	if !t.has("vmkernel.gz") {
		if t.has("packages.xml") && t.has("build_number") && t.has("README") {
			return nil, errors.New("this is VMware ESX with a service console, not ESXi; ESXi 4.1 and later can be installed")
		}
		return nil, nil
	}
	menu, err := t.read("isolinux.cfg")
	if err != nil {
		return nil, err
	}
	if strings.Contains(menu, "ThinESX Installer") {
		return nil, errors.New("this is ESXi 3.5; ESXi 4.1 and later can be installed")
	}
	readme, err := t.read("README.txt")
	if err != nil || !readme4.MatchString(readme) {
		return nil, errors.Join(errors.New("I don't recognize this VMware ESX DVD"), err)
	}
	c, err := bootLine(menu)
	if err != nil {
		return nil, err
	}
	return []*Config{c}, nil
}

var readme4 = regexp.MustCompile(`VMware ESXi(?: version)? (4(?:\.[0-9]+)*)`)

// files are the kernel and modules of a configuration with their sizes, by the
// tree's spelling. One that is missing or empty is an error: an empty file
// counts as missing to the BIOS loader, and gzip of nothing has 20 bytes.
func files(t *tree, c *Config) ([]provision.Module, error) {
	var out []provision.Module
	var bad []string
	for _, m := range append([]ConfigModule{c.Kernel()}, c.Modules()...) {
		name := inTree(m.Path, c.Get("prefix"))
		size, err := t.size(name)
		switch {
		case err != nil:
			bad = append(bad, name+" is missing")
		case size == 0:
			bad = append(bad, name+" is empty")
		default:
			real, _ := t.find(name)
			out = append(out, provision.Module{Name: real, Size: size})
		}
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("the medium is incomplete, boot.cfg names files that are not there: %s", few(bad))
	}
	return out, nil
}

// few lists the first of many.
func few(list []string) string {
	if len(list) > 4 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
	}
	return strings.Join(list, ", ")
}

// hasLoader: without a boot loader nothing of it boots.
func hasLoader(t *tree, v Version) error {
	for _, name := range []string{"mboot.c32", "efi/boot/bootx64.efi", "efi/boot/bootaa64.efi"} {
		if t.has(name) {
			return nil
		}
	}
	return fmt.Errorf("VMware ESXi %s: the medium is incomplete, there is no boot loader on it: neither mboot.c32 nor efi/boot/bootx64.efi", v)
}

// An identity is what a medium says it is.
type identity struct {
	version Version
	update  string // "0.35"
	build   string
	profile string // "ESXi-8.0U2-22380479-standard"
}

// identify asks, in this order: upgrade/metadata.xml, boot.cfg's build=, the
// readme, the menu's title, and ESXi 4's readme. Later ones fill in what
// earlier ones leave open.
func identify(t *tree, c *Config) (identity, error) {
	var id identity
	for _, source := range []func(*tree, *Config) (identity, error){fromMetadata, fromBuild, fromReadme, fromMenu, fromReadme4} {
		more, err := source(t, c)
		if err != nil {
			return id, err
		}
		id.fill(more)
	}
	return id, nil
}

func (id *identity) fill(more identity) {
	if id.version == nil {
		id.version = more.version
	} else if more.version.Compare(id.version) != 0 && more.version != nil {
		more.update, more.build = "", "" // of something else
	}
	if id.update == "" {
		id.update = more.update
	}
	if id.build == "" {
		id.build = more.build
	}
	if id.profile == "" {
		id.profile = more.profile
	}
}

func fromMetadata(t *tree, _ *Config) (identity, error) {
	text, err := t.read("upgrade/metadata.xml")
	if err != nil || text == "" {
		return identity{}, err
	}
	m, err := elements(text, "esxVersion", "esxRelease", "build")
	if err != nil {
		return identity{}, fmt.Errorf("upgrade/metadata.xml: %w", err)
	}
	id := identity{version: ParseVersion(m["esxVersion"]), update: digits.FindString(m["esxRelease"]), build: digits.FindString(m["build"])}
	text, err = t.read("upgrade/profile.xml")
	if err == nil && text != "" {
		if p, err := elements(text, "name"); err == nil {
			id.profile = plain(p["name"])
		}
	}
	return id, err
}

var digits = regexp.MustCompile(`^[0-9][0-9.]{0,31}`)

// plain is a word of a medium that may be shown: printable, and not long.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 100)]
}

// elements are the texts of the first elements of each name, wherever they are.
func elements(text string, names ...string) (map[string]string, error) {
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	out := map[string]string{}
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for inside := ""; ; {
		tok, err := d.Token()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			inside = tok.Name.Local
		case xml.EndElement:
			inside = ""
		case xml.CharData:
			if want[inside] && out[inside] == "" {
				out[inside] = strings.TrimSpace(string(tok))
			}
		}
	}
}

// fromBuild: "8.0.3-0.35.24280767" is version, update release, build. It is
// empty on media before 6.7U2.
func fromBuild(_ *tree, c *Config) (identity, error) {
	version, rest, ok := strings.Cut(c.Get("build"), "-")
	if !ok {
		return identity{}, nil
	}
	id := identity{version: ParseVersion(version)}
	if i := strings.LastIndexByte(rest, '.'); i > 0 {
		id.update, id.build = digits.FindString(rest[:i]), digits.FindString(rest[i+1:])
	}
	return id, nil
}

func fromReadme(t *tree, _ *Config) (identity, error) {
	text, err := t.read("vmware-esx-base-readme")
	if err != nil {
		return identity{}, err
	}
	if m := readme.FindStringSubmatch(text); m != nil {
		return identity{version: ParseVersion(m[1])}, nil
	}
	return identity{}, nil
}

var readme = regexp.MustCompile(`VMware ESXi? ([0-9]+\.[0-9]+(?:\.[0-9]+)*)`)

// fromMenu: "MENU TITLE ESXi-6.7.0-8169922-standard Boot Menu", from 7.0U1 on
// "ESXi-7.0U3n-21930508-standard".
func fromMenu(t *tree, _ *Config) (identity, error) {
	text, err := t.read("isolinux.cfg")
	if err != nil {
		return identity{}, err
	}
	m := title.FindStringSubmatch(text)
	if m == nil {
		return identity{}, nil
	}
	version := m[2]
	if m[3] != "" {
		version += "." + m[3]
	}
	return identity{version: ParseVersion(version), build: m[4], profile: plain(m[1])}, nil
}

var title = regexp.MustCompile(`(?i)menu title[ \t]+(\S*ESXi-([0-9]+\.[0-9]+(?:\.[0-9]+)*)(?:U([0-9]+)[a-z]?)?-(?:[A-Za-z0-9_.]*-)?([0-9]{5,9})\S*)`)

func fromReadme4(t *tree, _ *Config) (identity, error) {
	text, err := t.read("README.txt")
	if err != nil {
		return identity{}, err
	}
	if m := readme4.FindStringSubmatch(text); m != nil {
		return identity{version: ParseVersion(m[1])}, nil
	}
	return identity{}, nil
}

// release puts an identity into provision's words.
func (id identity) release(t *tree) *provision.Release {
	rel := &provision.Release{
		Family: "esxi", OS: "esxi" + trim(id.version.String()), Version: id.version.String(), Build: id.build,
		Arch: "x86_64", Title: "VMware ESXi " + id.version.String(),
		Images: []provision.ImageSpec{
			{Mode: nodedb.ModeInstall, Profile: "base", OSName: "ESXi"},
			{Mode: nodedb.ModeInstall, Profile: "hypervisor", OSName: "ESXi"},
			{Mode: nodedb.ModeNetboot, Profile: "hypervisor", OSName: "ESXi"},
		},
	}
	if d := trim(id.update); d != "" && d != "0" {
		rel.Detail = d
	}
	if t.has("efi/boot/bootaa64.efi") && !t.has("efi/boot/bootx64.efi") && !t.has("mboot.c32") {
		rel.Arch = "aarch64"
	}
	if id.build != "" {
		rel.Title += " build " + id.build
	}
	if id.profile != "" && !strings.HasPrefix(id.profile, "ESXi-") {
		rel.Title += " (" + id.profile + ")"
	}
	return rel
}
