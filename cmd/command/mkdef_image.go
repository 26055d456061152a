package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"margay/nodedb"
)

// imageItem is what mkdef -u and chdef -u make: an osimage whose attributes are
// filled in from those that tell images apart, which one that is there has
// already. Its name, if none is given, is osvers-osarch-provmethod-profile.
func imageItem(s *Session, d *defArgs) ([]defItem, error) {
	if len(d.types) != 1 || d.types[0].Name != "osimage" {
		return nil, errors.New("Option '-u' only work for objtype 'osimage'.")
	}
	if s.Bool("plus") || s.Bool("minus") {
		return nil, errors.New("Cannot use '-u' with '-p' or '-m'.")
	}
	given := make(map[string]string)
	if old, ok := nodedb.NewView(d.snap).Object(d.types[0], d.objects); ok && d.named {
		for _, attr := range []string{"provmethod", "profile", "osvers", "osarch", "imagetype", "osname"} {
			given[attr] = old.Get(attr)
		}
	}
	for _, a := range d.assigns {
		given[a.Attr] = a.Value
	}
	for _, attr := range []string{"provmethod", "profile", "osvers", "osarch"} {
		if given[attr] == "" {
			return nil, fmt.Errorf("-u needs provmethod=, profile=, osvers= and osarch=; %s is missing", attr)
		}
	}
	name := strings.Join([]string{given["osvers"], given["osarch"], given["provmethod"], given["profile"]}, "-")
	if d.named {
		name = d.objects
	}
	assigns := d.assigns
	for attr, value := range imageDefaults(d.snap, given) {
		if given[attr] == "" && value != "" {
			assigns = append(assigns, nodedb.Assign{Attr: attr, Value: value})
		}
	}
	return []defItem{{d.types[0], name, assigns}}, nil
}

// imageDefaults are what other images of the release say, and the operator's
// own template if there is one.
func imageDefaults(snap *nodedb.Snapshot, given map[string]string) map[string]string {
	out := map[string]string{"imagetype": "linux", "osname": "Linux", "osdistroname": given["osvers"] + "-" + given["osarch"]}
	for _, img := range snap.Images() {
		if img.OS == given["osvers"] && img.Arch == given["osarch"] {
			out["osname"], out["pkgdir"] = img.OSName, img.PkgDir
		}
	}
	platform := strings.TrimRight(given["osvers"], "0123456789.")
	dir := filepath.Join(snap.Site("installdir"), "custom", given["provmethod"], platform)
	for _, name := range []string{given["profile"] + "." + given["osvers"] + "." + given["osarch"], given["profile"] + "." + given["osvers"], given["profile"] + "." + given["osarch"], given["profile"]} {
		file := filepath.Join(dir, name+".tmpl")
		if _, err := os.Stat(file); err == nil {
			out["template"] = file
			break
		}
	}
	return out
}
