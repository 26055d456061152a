package nodedb

import "fmt"

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

	src *slot
}

// Attr returns the value of "osimage.column" or "linuximage.column".
func (i *Image) Attr(column string) string {
	if i.src == nil {
		return ""
	}
	return i.src.own(column)
}

// Image returns an osimage; the error wraps ErrNotFound.
func (s *Snapshot) Image(name string) (*Image, error) {
	rec, ok := s.slot(Key{KindImage, name})
	if !ok {
		return nil, fmt.Errorf("osimage %s: %w", name, ErrNotFound)
	}
	return buildImage(rec), nil
}

// Images returns all osimages, sorted by name.
func (s *Snapshot) Images() []*Image {
	var list []*Image
	for _, rec := range s.kind(KindImage).all() {
		list = append(list, buildImage(rec))
	}
	return list
}

func buildImage(s *slot) *Image {
	return &Image{
		Name:        s.rec.Name,
		OS:          s.own("osimage.osvers"),
		Arch:        s.own("osimage.osarch"),
		OSName:      s.own("osimage.osname"),
		Distro:      s.own("osimage.osdistroname"),
		Profile:     s.own("osimage.profile"),
		ProvMethod:  s.own("osimage.provmethod"),
		Template:    s.own("linuximage.template"),
		PkgDir:      s.own("linuximage.pkgdir"),
		RootImgDir:  s.own("linuximage.rootimgdir"),
		AddKCmdLine: s.own("linuximage.addkcmdline"),
		src:         s,
	}
}
