package esxi

import (
	"errors"
	"strings"
)

// Media of ESXi 4 have no boot.cfg: isolinux.cfg gives mboot.c32 the kernel,
// its options and the modules on one line.
//
//	append vmkboot.gz --- vmkernel.gz --- sys.vgz --- ... --- install.vgz

// bootLine is the kernel, options and modules of an isolinux.cfg's first entry
// that starts mboot.c32.
func bootLine(text string) (*Config, error) {
	mboot := false
	for raw := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(raw), " ")
		switch rest = strings.TrimSpace(rest); strings.ToLower(word) {
		case "label":
			mboot = false
		case "kernel":
			mboot = strings.HasSuffix(strings.ToLower(rest), "mboot.c32")
		case "append":
			if modules := parseModules(rest); mboot && len(modules) > 1 {
				return fromModules(modules), nil
			}
		}
	}
	return nil, errors.New("isolinux.cfg has no entry that starts mboot.c32 with modules")
}

func fromModules(modules []ConfigModule) *Config {
	c := &Config{}
	c.Set("kernel", modules[0].Path)
	c.Set("kernelopt", modules[0].Options)
	c.SetModules(modules[1:])
	return c
}
