package nodedb

// An Image is an osimage. Images are immutable.
type Image struct {
	Name        string
	OS          string // osimage.osvers
	Arch        string // osimage.osarch
	OSName      string // osimage.osname
	Distro      string // osimage.osdistroname
	Profile     string // osimage.profile
	ProvMethod  string // osimage.provmethod
	Template    string // linuximage.template
	PkgDir      string // linuximage.pkgdir
	RootImgDir  string // linuximage.rootimgdir
	AddKCmdLine string // linuximage.addkcmdline

	attrs map[string]string
}

// Attr returns the value of "osimage.column" or "linuximage.column".
func (i *Image) Attr(column string) string { return i.attrs[column] }
