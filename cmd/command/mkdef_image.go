package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"margay/nodedb"
)

// imageItem is what mkdef -u makes: an osimage whose attributes are filled in
// from those that tell images apart. Its name, if none is given, is
// osvers-osarch-provmethod-profile.
func imageItem(s *Session, d *defArgs) ([]defItem, error) {
	if len(d.types) != 1 || d.types[0].Name != "osimage" {
		return nil, errors.New("The '-u' option is valid for the osimage type only.")
	}
	given := make(map[string]string)
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
