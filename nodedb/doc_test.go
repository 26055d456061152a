package nodedb_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"margay/nodedb/nodedbtest"
)

// The examples in docs/table.md are so.
func TestTableDoc(t *testing.T) {
	text, err := os.ReadFile("../docs/table.md")
	if err != nil {
		t.Fatal(err)
	}
	db := nodedbtest.New(t)
	for i := range 10 {
		groups := "all"
		if i < 5 {
			groups += ",web"
		}
		if i >= 3 && i < 8 {
			groups += ",db"
		}
		nodedbtest.Put(t, db, nodedbtest.Node(fmt.Sprint("n", i+1), groups))
	}
	change(t, db, "node", "n1", "mgt=ipmi")
	ranges, values := 0, 0
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.ReplaceAll(cells[i], "\x00", "|"), " `")
		}
		switch {
		case len(cells) < 4 || !strings.HasPrefix(line, "| `"):
		case len(cells) == 4:
			ranges++
			nodes, err := db.Snapshot().Expand(cells[1])
			var names []string
			for _, n := range nodes {
				names = append(names, n.Name)
			}
			if got := strings.Join(names, " "); err != nil || got != cells[2] {
				t.Errorf("%s is %s (%v), and the page says %s", cells[1], got, err, cells[2])
			}
		default:
			values++
			other := nodedbtest.New(t, nodedbtest.Node(cells[2], "all", "hosts.hostnames="+cells[1]))
			n, err := other.Snapshot().Node(cells[2])
			if err != nil || n.Attr("hosts.hostnames") != cells[3] {
				t.Errorf("%s of %s is %q, and the page says %s", cells[1], cells[2], n.Attr("hosts.hostnames"), cells[3])
			}
		}
	}
	if ranges < 10 || values < 5 {
		t.Errorf("only %d noderanges and %d values were found on the page", ranges, values)
	}
}
