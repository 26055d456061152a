package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports is the house's import graph: what each package may import of ours.
// An import that is not here is argued in the commit that adds it.
var imports = map[string]string{
	"nodedb":                  "",
	"nodedb/bolt":             "nodedb",
	"nodedb/etcd":             "nodedb",
	"nodedb/nodedbtest":       "nodedb nodedb/bolt",
	"netboot":                 "",
	"netboot/udp":             "",
	"netboot/dhcp":            "netboot",
	"netboot/tftp":            "netboot netboot/udp",
	"netboot/cert":            "",
	"netboot/httpd":           "netboot",
	"netboot/dns":             "netboot/udp",
	"netboot/loader":          "",
	"netboot/monitor":         "netboot",
	"netboot/rom":             "netboot",
	"netboot/netboottest":     "netboot",
	"templates":               "",
	"provision":               "nodedb netboot",
	"provision/media":         "",
	"provision/fetch":         "",
	"provision/esxi":          "nodedb netboot provision templates",
	"provision/linux":         "nodedb netboot provision templates",
	"provision/bmc":           "nodedb",
	"provision/bmc/ipmi":      "nodedb provision/bmc",
	"provision/bmc/redfish":   "nodedb provision/bmc",
	"provision/bmc/bmctest":   "nodedb provision/bmc",
	"provision/ssh":           "",
	"provision/ping":          "",
	"provision/api":           "nodedb provision",
	"provision/firewall":      "",
	"provision/dashboard":     "nodedb provision templates",
	"provision/provisiontest": "nodedb netboot provision",
	"vm":                      "nodedb",
	"vm/vsphere":              "nodedb vm",
	"vm/esxsh":                "nodedb vm provision/ssh",
	"vm/vmx":                  "vm",
	"vm/domxml":               "vm",
	"vm/vmdk":                 "",
	"vm/seed":                 "",
	"vm/nfs":                  "",
	"vm/vspc":                 "",
	"vm/ovf":                  "vm",
	"vm/vmtest":               "nodedb vm vm/vmdk",
	"cmd/command":             "nodedb netboot netboot/rom provision provision/firewall provision/api provision/bmc provision/ping provision/ssh vm vm/domxml vm/nfs vm/ovf vm/seed vm/vmdk vm/vmx",
	"cmd/margay":              "*",
	"cmd/margay-demo":         "*",
	"cmd/margay/e2e":          "*",
	"cmd/margay/guest":        "*",
}

// owners says which package of ours may import a library.
var owners = map[string]string{
	"github.com/insomniacslk/dhcp":         "netboot/dhcp netboot/rom",
	"github.com/pin/tftp":                  "netboot/tftp netboot/rom",
	"github.com/miekg/dns":                 "netboot/dns",
	"github.com/kdomanski/iso9660":         "vm/seed provision/provisiontest",
	"github.com/vmware/govmomi":            "vm/vsphere vm/vmtest",
	"go.etcd.io/bbolt":                     "nodedb/bolt",
	"go.etcd.io/etcd":                      "nodedb/etcd",
	"golang.org/x/crypto/ssh":              "provision/ssh vm/vmtest",
	"github.com/spf13/":                    "cmd/command cmd/margay",
	"github.com/bougou/go-ipmi":            "provision/bmc/ipmi provision/bmc/bmctest",
	"github.com/stmcginnis/gofish":         "provision/bmc/redfish",
	"github.com/tinkerbell/ipxedust":       "netboot/loader",
	"github.com/go-crypt/":                 "provision",
	"github.com/prometheus/client_golang":  "provision/api",
	"github.com/klauspost/compress":        "vm/vmdk",
	"golang.org/x/sync/errgroup":           "cmd/margay cmd/margay-demo",
	"github.com/rogpeppe/go-internal/diff": "provision",
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func TestImportGraph(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, "margay/")
		allowed, known := imports[name]
		if !known {
			t.Errorf("package %s is not in the import graph", name)
			continue
		}
		for _, imp := range p.Imports {
			ours, is := strings.CutPrefix(imp, "margay/")
			if is && allowed != "*" && !slices.Contains(strings.Fields(allowed), ours) {
				t.Errorf("%s imports %s, which the house does not allow it", name, ours)
			}
		}
	}
}

func TestLibraryOwners(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, "margay/")
		for _, imp := range p.Imports {
			for lib, who := range owners {
				if strings.HasPrefix(imp, lib) && !slices.Contains(strings.Fields(who), name) {
					t.Errorf("%s imports %s, which is %s's", name, imp, who)
				}
			}
		}
	}
}

// TestNoSimulators keeps what plays the outside world out of the product. Of
// the libraries, Redfish's imports testing for a helper that nothing calls.
func TestNoSimulators(t *testing.T) {
	const redfish = "github.com/stmcginnis/gofish/schemas"
	deps := list(t, "-deps", "./cmd/margay")
	if len(deps) < 50 {
		t.Fatalf("go list -deps names %d packages only", len(deps))
	}
	for _, p := range deps {
		for _, imp := range p.Imports {
			ours := strings.HasPrefix(imp, "margay/")
			tests := imp == "testing" || strings.HasPrefix(imp, "testing/")
			if tests && p.ImportPath != redfish && !strings.HasPrefix(p.ImportPath, "testing") {
				t.Errorf("cmd/margay links %s, because of %s", imp, p.ImportPath)
			}
			if strings.Contains(imp, "govmomi/simulator") || ours && strings.HasSuffix(imp, "test") {
				t.Errorf("cmd/margay links %s, because of %s", imp, p.ImportPath)
			}
		}
	}
}
