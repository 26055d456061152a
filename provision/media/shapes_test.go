package media

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"margay/provision/provisiontest"
)

// TestShapes unpacks media of every line of ESXi in every shape that they come
// in, and holds each file against what xorriso makes of the same medium.
func TestShapes(t *testing.T) {
	tool(t, "xorriso")
	names := []provisiontest.Names{provisiontest.NamesUpper, provisiontest.NamesRockRidge, provisiontest.NamesJoliet, provisiontest.NamesBoth}
	for i, version := range []string{"4.1.0", "5.0.0", "5.1.0", "5.5.0", "6.0.0", "6.5.0", "6.7.0", "7.0.3", "8.0.2", "9.0.0"} {
		for j, shape := range names {
			spec := provisiontest.ESXi{Version: version, Names: shape, Total: 256 << 10}
			if (i+j)%2 == 1 { // a maker's, with more modules and one in mixed case
				spec.Vendor, spec.Mixed = "HPE", true
			}
			t.Run(version+"/"+[]string{"upper", "rockridge", "joliet", "both"}[j]+"/"+spec.Vendor, func(t *testing.T) {
				t.Parallel()
				iso := provisiontest.MakeESXi(t, spec)
				ours, theirs := t.TempDir(), filepath.Join(t.TempDir(), "x")
				if err := open(t, iso).Unpack(t.Context(), ours, nil); err != nil {
					t.Fatal(err)
				}
				run(t, "xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", theirs)
				run(t, "chmod", "-R", "u+w", theirs)
				want := listing(t, os.DirFS(theirs))
				if shape == provisiontest.NamesUpper && version != "4.1.0" {
					want = folded(want) // we show such names as Linux does
				}
				compare(t, iso, listing(t, os.DirFS(ours)), want)
			})
		}
	}
}

// folded is a listing as Linux shows names that are in capitals on the medium.
func folded(list map[string]string) map[string]string {
	out := map[string]string{}
	for p, w := range list {
		out[strings.TrimSuffix(strings.ToLower(p), ".")] = w
	}
	return out
}
