package nodedb_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func TestParseStanzas(t *testing.T) {
	text := `# <xCAT data object stanza file>

default-node:
    groups=all,compute
    os=esxi8.0

node01:
    objtype=node
  mac = A2:E2:60:02:C0:03
    usercomment="two words "

default-node:
    os=

node02:
objtype=node
	groups='x'

net1:
    objtype=network
    net=10.0.0.0
    mask=255.0.0.0
`
	want := []string{
		"7 node node01: groups=all,compute os=esxi8.0 mac=A2:E2:60:02:C0:03 usercomment=two words ",
		"15 node node02: groups=x",
		"19 network net1: net=10.0.0.0 mask=255.0.0.0",
	}
	list, err := nodedb.ParseStanzas(text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		line := fmt.Sprintf("%d %s %s:", s.Line, s.Type.Name, s.Name)
		for _, a := range s.Assigns {
			line += " " + a.Attr + "=" + a.Value
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestParseStanzasRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"attribute first", "os=x\n", "line 1: os before the first object"},
		{"no objtype", "n1:\n  os=x\n", "line 1: n1 has no objtype"},
		{"unknown type", "n1:\n  objtype=bogus\n", "line 1: bogus: not an object type"},
		{"unknown default", "default-bogus:\n  a=b\n", "line 1: bogus: not an object type"},
		{"neither", "n1:\n  objtype=node\n  what is this\n", `line 3: "what is this" is neither`},
		{"twice", "n1:\n objtype=node\n groups=a\nn1:\n objtype=node\n", "line 4: n1 is there twice, first on line 1"},
		{"no name", ":\n", "line 1: no name"},
		{"not UTF-8", "n1:\n objtype=node\n os=\xff\n", "line 3: os: not UTF-8"},
	}
	for _, tt := range tests {
		list, err := nodedb.ParseStanzas(tt.text)
		if !errors.Is(err, nodedb.ErrInvalid) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: %v, %v, want %q", tt.name, list, err, tt.want)
		}
	}
}

// Attributes that there are not are left out, and named.
func TestStanzaUnknown(t *testing.T) {
	list, err := nodedb.ParseStanzas("default-node:\n wrong=1\nn1:\n  objtype=node\n  bogus=x\n  os=y\n")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if got := list[0].Assigns; len(got) != 1 || got[0].Attr != "os" {
		t.Errorf("left is %v", got)
	}
	var unknown *nodedb.UnknownError
	if got := list[0].Unknown; len(got) != 2 || !errors.As(got[1], &unknown) || unknown.Attr != "bogus" {
		t.Errorf("unknown is %v", got)
	}
}

// What is written is read back as it was.
func TestStanzaRoundTrip(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n1", "groups=all", "usercomment= blanks around ", "kcmdline='quoted'", `addkcmdline="half`, "vmothersetting=a=b;c=d", "nicips.eth1=1.1.1.1|2.2.2.2", "profile=#1", "room=x:")
	view := nodedb.NewView(db.Snapshot())
	o, _ := view.Object(nodedb.TypeByName("node"), "n1")
	var b strings.Builder
	b.WriteString(nodedb.StanzaHeader + "\n")
	nodedb.WriteStanza(&b, o, o.Values)
	list, err := nodedb.ParseStanzas(b.String())
	if err != nil || len(list) != 1 {
		t.Fatalf("%s\nread as %v, %v", b.String(), list, err)
	}
	before := show(db, "node", "n1")
	edit(t, db, func(e *nodedb.Editor) error { return e.Replace(list[0].Type, list[0].Name, list[0].Assigns) })
	expect(t, db, "node", "n1", before)
}

func FuzzParseStanzas(f *testing.F) {
	for _, s := range []string{"n1:\n objtype=node\n groups=a\n", "default-node:\n groups=b\nn1:\nobjtype=node\nos=\"x\"\n", "#\n\n:", "a:\nobjtype=site\nx=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := nodedb.ParseStanzas(text)
		if err != nil {
			if !errors.Is(err, nodedb.ErrInvalid) {
				t.Errorf("%q: %v is no ErrInvalid", text, err)
			}
			return
		}
		var b strings.Builder
		for _, s := range list {
			o := &nodedb.Object{Type: s.Type, Name: s.Name}
			for _, a := range s.Assigns {
				o.Values = append(o.Values, nodedb.Value{Name: a.Attr, Text: a.Value})
			}
			nodedb.WriteStanza(&b, o, o.Values)
		}
		again, err := nodedb.ParseStanzas(b.String())
		same := slices.EqualFunc(list, again, func(a, b nodedb.Stanza) bool {
			return a.Name == b.Name && a.Type == b.Type && slices.Equal(a.Assigns, b.Assigns)
		})
		if err != nil || !same {
			t.Errorf("%q was read as %v, written as %q, read as %v, %v", text, list, b.String(), again, err)
		}
	})
}
