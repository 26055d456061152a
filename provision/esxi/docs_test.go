package esxi

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"margay/nodedb"
)

// TestDocsNameEveryValue: docs/templates.md knows every field that a template
// may use, and every column that decides one.
func TestDocsNameEveryValue(t *testing.T) {
	b, err := os.ReadFile("../../docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[KickstartData](), reflect.TypeFor[FindDisk](), reflect.TypeFor[ScriptData]()} {
		for i := range typ.NumField() {
			if name := "`." + typ.Field(i).Name + "`"; !strings.Contains(string(b), name) {
				t.Errorf("%s of %s is not in docs/templates.md", name, typ.Name())
			}
		}
	}
	for _, c := range nodedb.TableByName("esxi").Columns {
		switch c.Name {
		case "node", "comments", "disable":
		default:
			if !strings.Contains(string(b), "esxi"+c.Name) {
				t.Errorf("column esxi.%s is not in docs/templates.md", c.Name)
			}
		}
	}
}
