package esxi

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"margay/nodedb"
)

// A derived is the medium's boot configuration on its way to a node's.
type derived struct{ *Config }

// bootConfig is the node's own boot.cfg.
func (h *host) bootConfig() ([]byte, error) {
	c, err := h.config()
	if err != nil {
		return nil, err
	}
	c.dropInstaller(h)
	if err := c.resolve(h); err != nil {
		return nil, err
	}
	c.Set("kernelopt", strings.Join(c.options(h), " "))
	c.Delete("nobootif") // the host must know which interface booted it
	c.Set("title", h.title())
	c.Set("prefix", h.path(h.TreeURL()))
	own, err := h.ownModules()
	if err != nil {
		return nil, err
	}
	for _, name := range own {
		c.addModule(h.path(h.SecretURL(name)))
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	return []byte(c.Text()), nil
}

// ownModules are those of ours behind the medium's: what the host saved, then
// the overlay, so that the table stands over what a host was told by hand.
func (h *host) ownModules() ([]string, error) {
	if h.Mode != nodedb.ModeNetboot {
		return nil, nil
	}
	state, err := saved(h.Boot)
	if err != nil {
		return nil, fmt.Errorf("saved state of %s: %w", h.Node.Name, err)
	}
	if len(state) > 0 { // an empty module is one that is missing, to a loader
		return []string{stateName, overlayName(h.version)}, nil
	}
	return []string{overlayName(h.version)}, nil
}

// path is an address as the loader can use it: loaded by TFTP it knows TFTP
// names only, and a leading slash means the server's root.
func (h *host) path(url string) string {
	if h.TFTP {
		return strings.TrimPrefix(url, h.Base)
	}
	return url
}

func (h *host) title() string {
	if h.Mode == nodedb.ModeNetboot {
		return fmt.Sprintf("Loading ESXi %s, stateless, on %s", h.version, h.Node.Name)
	}
	return fmt.Sprintf("Loading the ESXi %s installer on %s", h.version, h.Node.Name)
}

// dropInstaller leaves out what only an installer needs, for a host that runs
// from memory. imgdb.tgz stays: esxcli software reads it.
func (c *derived) dropInstaller(h *host) {
	if h.Mode != nodedb.ModeNetboot {
		return
	}
	c.SetModules(slices.DeleteFunc(c.Modules(), func(m ConfigModule) bool {
		return isInstaller(path.Base(strings.ToLower(m.Path)))
	}))
}

// isInstaller: the installer itself (weaselin.i00, .t00 and .v00), the copies
// of packages that it writes to disk, and VMware Tools, which a datastore can
// give; ESXi 4's two.
func isInstaller(name string) bool {
	switch name {
	case "imgpayld.tgz", "resvibs.tgz", "esxiodpt.tgz", "basemisc.tgz", "tools.t00", "ienviron.vgz", "install.vgz":
		return true
	}
	return strings.HasPrefix(name, "weaselin.")
}

// resolve writes every path as the tree spells it, relative to the tree.
func (c *derived) resolve(h *host) error {
	list, err := files(h.tree, c.Config)
	if err != nil {
		return err
	}
	kernel, modules := c.Kernel(), c.Modules()
	kernel.Path = list[0].Name
	for i := range modules {
		modules[i].Path = list[i+1].Name
	}
	for _, m := range list {
		if strings.Contains(m.Name, "---") {
			return fmt.Errorf("%s: module %s holds ---, at which the boot loader splits", h.OS, m.Name)
		}
	}
	c.Set("kernel", kernel.String())
	c.SetModules(modules)
	return nil
}

func (c *derived) addModule(p string) { c.SetModules(append(c.Modules(), ConfigModule{Path: p})) }

// options are the kernel's options: the medium's own, less those that hold
// for a CD or for the other mode, then those of this boot and of the operator.
func (c *derived) options(h *host) []string {
	own := slices.DeleteFunc(c.Options(), func(o string) bool {
		key, _, _ := strings.Cut(strings.ToLower(o), "=")
		return key == "cdromboot" || key == "runweasel" || key == "ks"
	})
	if h.Mode == nodedb.ModeInstall {
		own = append([]string{"runweasel"}, own...)
		own = append(own, "ks="+h.AnswerURL("ks.cfg"))
	}
	return append(own, h.set.kernelOptions(h)...)
}
