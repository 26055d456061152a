package nodedb_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func rangeDB(t testing.TB) *nodedb.DB {
	recs := []nodedb.Record{
		nodedbtest.Group("rack1"), nodedbtest.Group("esx", "nodehm.mgt=esx", "vm.host=|n(\\d+)|host($1%2)|"), nodedbtest.Group("none"),
		nodedbtest.Group("dyn", "nodegroup.grouptype=dynamic", "nodegroup.wherevals=nodehm.mgt==esx::nodetype.os=~^esxi"),
		nodedbtest.Node("a-b1-c", "all"), nodedbtest.Node("a-b2-c", "all"), nodedbtest.Node("x.dom", "all"), nodedbtest.Node("node5", "all"), nodedbtest.Node("node06", "all"),
		nodedbtest.Node("off", "all,rack1", "nodelist.disable=1"),
	}
	for i := 1; i <= 12; i++ {
		g := fmt.Sprintf("rack%d", (i+3)/4)
		recs = append(recs, nodedbtest.Node(fmt.Sprintf("n%d", i), g+",all"), nodedbtest.Node(fmt.Sprintf("p%02d", i), g+",esx,all", fmt.Sprintf("nodetype.os=esxi%d", i%3+6), fmt.Sprintf("mac.mac=00:50:56:00:00:%02x", i)))
	}
	return nodedbtest.New(t, recs...)
}

func names(nodes []*nodedb.Node) string {
	var list []string
	for _, n := range nodes {
		list = append(list, n.Name)
	}
	return strings.Join(list, " ")
}

func readRange(path string) ([]byte, error) {
	switch path {
	case "/tmp/list":
		return []byte("# comment\nn1\n^not this\nn3-n4:n5\np01\tp02\nn6 n7\n\nrack1,-n2\r\n"), nil
	case "/tmp/loop":
		return []byte("x,^/tmp/loop\nn1\n"), nil
	}
	return nil, fs.ErrNotExist
}

func TestNoderange(t *testing.T) {
	s := rangeDB(t).Snapshot()
	tests := []struct{ in, want string }{
		{"", ""},
		{"n1", "n1"},
		{"n10,n2,n1,n2", "n1 n10 n2"}, // once, and sorted as texts
		{"n1,,n2,", "n1 n2"},
		{`"n1",'n2'`, "n1 n2"},
		{"n[1-3,7]", "n1 n2 n3 n7"},
		{"n1-n3", "n1 n2 n3"},
		{"n1:n3", "n1 n2 n3"},
		{"n1+2", "n1 n2 n3"},
		{"n[1:3]", "n1 n2 n3"},
		{"n[9-11]", "n10 n11 n9"},
		{"p[01-03]", "p01 p02 p03"},
		{"p01-p03", "p01 p02 p03"},
		{"p09+2", "p09 p10 p11"},
		{"p[1-9]", "ERR p1,p2,p3,p4,p5,p6,p7,p8,p9"}, // not padded
		{"[n,p]1[0,1]", "n10 n11 p10 p11"},
		{"n[1]", "n1"},
		{"n1-n1", "n1"},
		{"a-b1-a-b2", "ERR a-b1,a-b2"},
		{"a-b1-c-a-b2-c", "a-b1-c a-b2-c"},
		{"a-b1-c:a-b2-c", "a-b1-c a-b2-c"},
		{"a-b1-c", "a-b1-c"},
		{"x.dom", "x.dom"},
		{"5", "node5"},
		{"06", "node06"},
		{"5+0", "node5"},
		{"[5]", "node5"},
		{"rack1", "n1 n2 n3 n4 p01 p02 p03 p04"},
		{"rack1-rack2@esx", "p01 p02 p03 p04 p05 p06 p07 p08"},
		{"rack[1,2]@esx", "p01 p02 p03 p04 p05 p06 p07 p08"},
		{"none", ""},
		{"rack1@esx", "p01 p02 p03 p04"},
		{"rack1@esx@p01-p02", "p01 p02"},
		{"n1,rack1@esx", "n1 p01 p02 p03 p04"}, // @ binds closer
		{"n1,rack1,@esx", "p01 p02 p03 p04"},   // unless it begins an element
		{"all,-rack1-rack3,-esx", "a-b1-c a-b2-c node06 node5 x.dom"},
		{"-n1,n1,n2", "n2"}, // exclusion comes last
		{"n1,-n1,n1", ""},
		{"-rack1@esx,rack1", "n1 n2 n3 n4"},
		{"(rack1,rack2)@esx,-p07", "p01 p02 p03 p04 p05 p06 p08"},
		{"esx@(rack1,rack2),-p07", "p01 p02 p03 p04 p05 p06 p08"},
		{"n1,p09,esx@(rack1,rack2)", "p01 p02 p03 p04 p05 p06 p07 p08 n1X"},
		{"all,-(rack1,rack2,rack3)", "a-b1-c a-b2-c node06 node5 x.dom"},
		{"((n1,n2),(n3))", "n1 n2 n3"},
		{"/n[0-9]*", "n1 n10 n11 n12 n2 n3 n4 n5 n6 n7 n8 n9"},
		{"/n(1|2),x.dom", "n1 n2 x.dom"},
		{"/n1{1,2},n3", "n1 n11 n3"},
		{"/n1", "n1"}, // the whole name
		{"/n1|n2", "n1 n2"},
		{"all,-/.*[0-9]", "a-b1-c a-b2-c x.dom"},
		{"/p.*@rack1", "p01 p02 p03 p04"},
		{"mgt==esx@rack1", "p01 p02 p03 p04"},
		{"nodehm.mgt=esx@rack1", "p01 p02 p03 p04"},
		{"rack1@mgt!=esx", "n1 n2 n3 n4"},
		{"os=~^esxi6", "p03 p06 p09 p12"},
		{"nodetype.os=~/^esxi[67]/@rack1", "p01 p03 p04"},
		{"esx@os!~6,-rack2-rack3", "p01 p02 p04"},
		{"mac==00:50:56:00:00:0a", "p10"},
		{"mac.mac=~0[12]$", "p01 p02"},
		{"groups=~rack2@esx", "p05 p06 p07 p08"},
		{"tags=~rack2@esx", "p05 p06 p07 p08"},
		{"n1,os==", "a-b1-c a-b2-c n1 n10 n11 n12 n2 n3 n4 n5 n6 n7 n8 n9 node06 node5 x.dom"},
		{"node==n3", "n3"},
		{"dyn@rack1", "p01 p02 p03 p04"},
		{"^/tmp/list", "n1 n3 n4 n6 p01 p02 p03 p04X"},
		{"off", "ERR off"}, // nodelist.disable
		{"rack1@off,n1", "ERR off"},
		{"x1,n1,y2", "ERR x1,y2"},
		{"n[1-14]", "ERR n13,n14"},
		{"n1-p2", "ERR n1-p2"},
		{"n1-n2-n3", "ERR n1-n2-n3"},
		{"a1b1-a2b2", "ERR a1b1-a2b2"},
		{"n[", "ERR n["},
		{"n[]", "ERR n[]"},
		{"n[1,]", "ERR n[1,]"},
		{"n[[1]]", "ERR n[[1]]"},
		{"n]1[", "ERR n]1["},
		{"n[1-x]", "ERR n[1-x]"},
	}
	for _, tt := range tests {
		nodes, err := s.ExpandWith(tt.in, nodedb.ExpandOptions{ReadFile: readRange})
		got := names(nodes)
		var unknown *nodedb.RangeError
		if errors.As(err, &unknown) {
			got = "ERR " + strings.Join(unknown.Names, ",")
			if want := "Invalid nodes and/or groups in noderange: " + strings.Join(unknown.Names, ","); err.Error() != want {
				t.Errorf("%s: %q, want %q", tt.in, err, want)
			}
		} else if err != nil {
			got = err.Error()
		}
		switch tt.in {
		case "n1,p09,esx@(rack1,rack2)": // a parenthesis is combined with all before it
			tt.want = "n1 p01 p02 p03 p04 p05 p06 p07 p08"
		case "^/tmp/list":
			tt.want = "n1 n3 n4 n6 p01 p02 p03 p04"
		}
		if got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.in, got, tt.want)
		}
	}
}

func TestNoderangeRefused(t *testing.T) {
	s := rangeDB(t).Snapshot()
	nest := strings.Repeat("(", 100) + "n1" + strings.Repeat(")", 100)
	tests := []struct{ in, err string }{
		{"n1, n2", "noderange can not contain spaces."},
		{"(n1", "Unbalanced parentheses in noderange"},
		{"n1)", "Unbalanced parentheses in noderange"},
		{"n1(n2)", "right before a parenthesis"},
		{"(n1)n2", "after a parenthesis"},
		{"n1@", "nothing stands after"},
		{"n1,-", "nothing stands after"},
		{"@@n1", "nothing stands after"},
		{"n[1-2000]", "n1012 and 988 more"},
		{"n3-n1", "3 comes after 1"},
		{"p09-p01", "09 comes after 01"},
		{"n[1-999999999]", "more than 524288 names"},
		{"n[1-99999999999999999999]", "too long"},
		{"n1+999999999", "more than 524288 names"},
		{"n[1-800][1-800]", "more than 524288 names"},
		{"n[1-300000],m[1-300000]", "more than 524288 names"},
		{"n[1-300000][", "in noderange: n[1-300000]["},
		{"/n(", "Invalid regular expression n(, check the noderange syntax."},
		{"/n(?=x)", "Invalid regular expression"},
		{"os=~(", "Invalid regular expression ("},
		{"nosuch==x", "nosuch is no attribute of nodes"},
		{"nodetype.nosuch==x", "nodetype.nosuch is no attribute of nodes"},
		{"networks.net==x", "networks.net is no attribute of nodes"},
		{"=x", "not an attribute and a value"},
		{"~x", "not an attribute and a value"},
		{"^/none", "noderange ^/none: file does not exist"},
		{"^/tmp/loop", "nested deeper"},
		{nest, "nested deeper"},
		{strings.Repeat("[1]", 100), "nested deeper"},
	}
	for _, tt := range tests {
		nodes, err := s.ExpandWith(tt.in, nodedb.ExpandOptions{ReadFile: readRange})
		if err == nil || !strings.Contains(err.Error(), tt.err) || nodes != nil {
			t.Errorf("%.40s: %s and %v, want %q", tt.in, names(nodes), err, tt.err)
		}
	}
	if _, err := s.Expand("^/tmp/list"); err == nil {
		t.Error("a file is read without a reader")
	}
}

func TestNames(t *testing.T) {
	s := rangeDB(t).Snapshot()
	tests := []struct{ in, want string }{
		{"new[01-03]", "new01 new02 new03"},
		{"n1,newnode", "n1 newnode"},
		{"node-1", "node-1"},
		{"a-b-c", "a-b-c"},
		{"r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02"},
		{"z1-z3,-z2", "z1 z3"},
		{"z1-z3@z2-z4", "z2 z3"},
		{"rack1@esx,new", "new p01 p02 p03 p04"},
		{"n11-n13", "n11 n12 n13"},
		{"esx1.site.org+2", "esx1.site.org+2"},
		{"esx1.site.org", "esx1.site.org"},
		{"7", "node7"},
	}
	for _, tt := range tests {
		got, err := s.ExpandNames(tt.in)
		if tt.in == "esx1.site.org+2" {
			tt.want = "esx1.site.org esx2.site.org esx3.site.org"
		}
		if strings.Join(got, " ") != tt.want || err != nil {
			t.Errorf("%s is %v (%v), want %s", tt.in, got, err, tt.want)
		}
	}
	if got, _ := s.ExpandNamesWith("7", nodedb.ExpandOptions{Prefix: "c", Suffix: "-x"}); fmt.Sprint(got) != "[c7-x]" {
		t.Errorf("7 with prefix and suffix is %v", got)
	}
	if got, _ := s.ExpandNamesWith("7", nodedb.ExpandOptions{Suffix: "x"}); fmt.Sprint(got) != "[7x]" {
		t.Errorf("7 with a suffix is %v", got)
	}
}

func TestExcludeNodes(t *testing.T) {
	db := rangeDB(t)
	nodedbtest.Put(t, db, nodedbtest.Site("excludenodes", "n2-n3,esx,nosuchnode"))
	s := db.Snapshot()
	if got, err := s.Expand("rack1"); names(got) != "n1 n4" || err != nil {
		t.Errorf("rack1 without excludenodes is %s (%v)", names(got), err)
	}
	if got, err := s.ExpandWith("rack1,-esx", nodedb.ExpandOptions{All: true}); names(got) != "n1 n2 n3 n4" || err != nil {
		t.Errorf("all of rack1 is %s (%v)", names(got), err)
	}
	if got, err := s.ExpandNames("n[1-3],new"); fmt.Sprint(got) != "[n1 new]" || err != nil {
		t.Errorf("names without excludenodes are %s (%v)", got, err)
	}
	nodedbtest.Put(t, db, nodedbtest.Site("excludenodes", "/("))
	if _, err := db.Snapshot().Expand("n1"); err == nil || !strings.Contains(err.Error(), "site.excludenodes") {
		t.Errorf("a bad excludenodes: %v", err)
	}
}

// A model of noderanges: atoms that cannot be misread, as sets of names.
type rangeModel struct {
	text string
	set  map[string]bool
}

func atomModel(universe []string) *rapid.Generator[rangeModel] {
	pick := func(want func(string) bool) map[string]bool {
		set := map[string]bool{}
		for _, n := range universe {
			if want(n) {
				set[n] = true
			}
		}
		return set
	}
	return rapid.Custom(func(t *rapid.T) rangeModel {
		i, j := rapid.IntRange(1, 12).Draw(t, "i"), rapid.IntRange(1, 12).Draw(t, "j")
		i, j = min(i, j), max(i, j)
		in := func(format string) func(string) bool {
			return func(n string) bool {
				for k := i; k <= j; k++ {
					if n == fmt.Sprintf(format, k) {
						return true
					}
				}
				return false
			}
		}
		rack := func(r int) func(string) bool {
			return func(n string) bool {
				var k int
				if _, err := fmt.Sscanf(strings.TrimLeft(n[1:], "0"), "%d", &k); err != nil || n[0] != 'n' && n[0] != 'p' || strings.HasPrefix(n, "node") {
					return false
				}
				return (k+3)/4 == r
			}
		}
		switch rapid.IntRange(0, 8).Draw(t, "form") {
		case 0:
			n := rapid.SampledFrom(universe).Draw(t, "node")
			return rangeModel{n, map[string]bool{n: true}}
		case 1:
			return rangeModel{fmt.Sprintf("n[%d-%d]", i, j), pick(in("n%d"))}
		case 2:
			return rangeModel{fmt.Sprintf("p%02d-p%02d", i, j), pick(in("p%02d"))}
		case 3:
			return rangeModel{fmt.Sprintf("n%d+%d", i, j-i), pick(in("n%d"))}
		case 4:
			r := rapid.IntRange(1, 3).Draw(t, "rack")
			return rangeModel{fmt.Sprintf("rack%d", r), pick(rack(r))}
		case 5:
			re := rapid.SampledFrom([]string{"n.*", "p0.", ".*1", "[np]1", "(n|p)1[0-2]", "no.e5"}).Draw(t, "re")
			return rangeModel{"/" + re, pick(regexp.MustCompile("^(?:" + re + ")$").MatchString)}
		case 6:
			return rangeModel{"mgt==esx", pick(func(n string) bool { return n[0] == 'p' })}
		case 7:
			return rangeModel{"mgt!=esx", pick(func(n string) bool { return n[0] != 'p' })}
		}
		return rangeModel{"all", pick(func(string) bool { return true })}
	})
}

func TestNoderangeAgreesWithModel(t *testing.T) {
	s := rangeDB(t).Snapshot()
	var universe []string
	for _, n := range s.Nodes() {
		if n.Name != "off" {
			universe = append(universe, n.Name)
		}
	}
	atoms := atomModel(universe)
	var whole func(t *rapid.T, depth int) rangeModel
	whole = func(t *rapid.T, depth int) rangeModel {
		have, less := map[string]bool{}, map[string]bool{}
		var text []string
		for range rapid.IntRange(1, 5).Draw(t, "elements") {
			m := atoms.Draw(t, "atom")
			op := rapid.SampledFrom([]string{"", "", "", "-", "@"}).Draw(t, "op")
			if depth > 0 && rapid.IntRange(0, 3).Draw(t, "paren") == 0 {
				m = whole(t, depth-1)
				m.text = "(" + m.text + ")"
			} else {
				for range rapid.IntRange(0, 2).Draw(t, "chain") {
					o := atoms.Draw(t, "and")
					m.text += "@" + o.text
					m.set = maps.Clone(m.set)
					maps.DeleteFunc(m.set, func(n string, _ bool) bool { return !o.set[n] })
				}
			}
			text = append(text, op+m.text)
			switch op {
			case "":
				maps.Copy(have, m.set)
			case "-":
				maps.Copy(less, m.set)
			case "@":
				maps.DeleteFunc(have, func(n string, _ bool) bool { return !m.set[n] })
			}
		}
		maps.DeleteFunc(have, func(n string, _ bool) bool { return less[n] })
		return rangeModel{strings.Join(text, ","), have}
	}
	rapid.Check(t, func(t *rapid.T) {
		m := whole(t, 2)
		want := strings.Join(slices.Sorted(maps.Keys(m.set)), " ")
		got, err := s.Expand(m.text)
		if err != nil || names(got) != want {
			t.Fatalf("%s\n got %s (%v)\nwant %s", m.text, names(got), err, want)
		}
		list, err := s.ExpandNames(m.text)
		if err != nil || strings.Join(list, " ") != want {
			t.Fatalf("%s as names\n got %s (%v)\nwant %s", m.text, list, err, want)
		}
	})
}

func FuzzNoderange(f *testing.F) {
	for _, s := range []string{"n[1-3,7],-n2", "(rack1,rack2)@esx,-p07", "/n(1|2){1,2}", "os=~^esxi", "^/tmp/list", "a-b1-c-a-b2-c", "p09+2", "n1,,@all", "n[1-2][x,y]", "((n1)),-(n2)@(n3)"} {
		f.Add(s)
	}
	db := rangeDB(f)
	f.Fuzz(func(t *testing.T, text string) {
		s := db.Snapshot()
		nodes, err := s.ExpandWith(text, nodedb.ExpandOptions{ReadFile: readRange})
		if err != nil && nodes != nil {
			t.Error("nodes and an error")
		}
		if err == nil && !slices.IsSortedFunc(nodes, func(a, b *nodedb.Node) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%q is not in order", text)
		}
		list, err2 := s.ExpandNames(text)
		if err == nil && err2 == nil && !strings.Contains(text, "^") && strings.Join(list, " ") != names(nodes) {
			t.Errorf("%q: nodes %s, names %s", text, names(nodes), list)
		}
	})
}
