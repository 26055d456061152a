package nodedb

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var updateSchema = flag.Bool("update", false, "rewrite testdata/schema.txt")

// Tables and types are what testdata/schema.txt says: the tables of xCAT's
// schema with their columns in its order and their keys, those that only we
// have, and the attributes of every type with the columns that hold them. A
// column that goes, or moves, would keep dumps from loading.
func TestSchemaGolden(t *testing.T) {
	const path = "testdata/schema.txt"
	got := schemaText()
	if *updateSchema {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		var g, w string
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Fatalf("%s:%d: the schema has\n%s\nand the file\n%s\nif that is meant, run go test ./nodedb -run TestSchemaGolden -update", path, i+1, g, w)
		}
	}
}

func schemaText() string {
	var b strings.Builder
	for _, table := range Tables() {
		fmt.Fprintf(&b, "table %s (%s):", table.Name, strings.Join(table.Keys, ","))
		for _, c := range table.Columns {
			b.WriteString(" " + c.Name)
			if c.Secret {
				b.WriteByte('*')
			}
		}
		b.WriteByte('\n')
	}
	for _, typ := range Types() {
		fmt.Fprintf(&b, "\ntype %s (%s)\n", typ.Name, typ.Key)
		for _, a := range typ.Attributes {
			fmt.Fprintf(&b, "    %s:", a.Name)
			for _, p := range a.Places {
				b.WriteString(" " + p.Attr())
				if p.When != "" {
					b.WriteString("[" + p.When + "]")
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Every table that xCAT documents is here, and so is every type of object.
func TestSchemaHasAllOfXCAT(t *testing.T) {
	for _, name := range strings.Fields(`auditlog bootparams boottarget cfgmgt chain deps discoverydata domain eventlog firmware hosts hwinv
		hypervisor ipmi iscsi kit kitcomponent kitrepo kvm_masterdata kvm_nodedata linuximage litefile litetree mac mic monitoring
		monsetting mp mpa networks nics nimimage nodegroup nodehm nodelist nodepos noderes nodetype notification openbmc osdistro
		osdistroupdate osimage passwd pdu pduoutlet performance policy postscripts ppc ppcdirect ppchcp prescripts prodkey rack
		routes servicenode site statelite storage switch switches taskstate token virtsd vm vmmaster vpd websrv winimage zone zvm zvmivp`) {
		if TableByName(name) == nil {
			t.Errorf("no table %s", name)
		}
	}
	for _, name := range strings.Fields(`auditlog boottarget eventlog firmware group kit kitcomponent kitrepo monitoring network node
		notification osdistro osdistroupdate osimage pdu policy rack route site taskstate zone zvmivp`) {
		if TypeByName(name) == nil {
			t.Errorf("no type %s", name)
		}
	}
	for _, name := range []string{"passwd", "vmmaster", "switch"} { // tables that xCAT has no type for
		if typ := TypeByName(name); typ == nil || !typ.Aside {
			t.Errorf("type %s is %v", name, typ)
		}
	}
}
