package nodedb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func dump(t testing.TB, db *nodedb.DB, table string) string {
	t.Helper()
	tab := nodedb.TableByName(table)
	var b strings.Builder
	if err := nodedb.WriteCSV(&b, tab, db.Snapshot().Rows(tab)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func restore(t testing.TB, db *nodedb.DB, table, text string, keep bool) {
	t.Helper()
	tab := nodedb.TableByName(table)
	rows, err := nodedb.ParseCSV(tab, text)
	if err != nil {
		t.Fatal(err)
	}
	edit(t, db, func(e *nodedb.Editor) error { return e.ReplaceTable(tab, rows, keep) })
}

func TestDump(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n2", "groups=all,vm", `usercomment=say "hi", twice`)
	define(t, db, "node", "n1", "groups=all")
	define(t, db, "group", "vm", "mgt=esx", "vmcpus=2")
	define(t, db, "network", "net", "net=10.0.0.0", "mask=255.0.0.0")
	change(t, db, "site", nodedb.SiteObject, "xcatiport=3002")
	change(t, db, "policy", "10", "rule=allow")
	change(t, db, "policy", "9.5", "rule=allow")
	tests := []struct{ table, want string }{
		{"nodelist", `#node,groups,status,statustime,appstatus,appstatustime,primarysn,hidden,updatestatus,updatestatustime,zonename,comments,disable
"n1","all",,,,,,,,,,,
"n2","all,vm",,,,,,,,,,"say ""hi"", twice",
`},
		{"nodehm", `#node,power,mgt,cons,termserver,termport,conserver,serialport,serialspeed,serialflow,getmac,cmdmapping,consoleondemand,consoleenabled,comments,disable
"vm",,"esx",,,,,,,,,,,,,
`},
		{"site", "#key,value,comments,disable\n\"xcatiport\",\"3002\",,\n"},
		{"networks", "#netname,net,mask,mgtifname,gateway,dhcpserver,tftpserver,nameservers,ntpservers,logservers,dynamicrange,staticrange,staticrangeincrement,nodehostname,ddnsdomain,vlanid,domain,mtu,comments,disable\n" +
			"\"net\",\"10.0.0.0\",\"255.0.0.0\",,,,,,,,,,,,,,,,,\n"},
		{"policy", "#priority,name,host,commands,noderange,parameters,time,rule,comments,disable\n\"9.5\",,,,,,,\"allow\",,\n\"10\",,,,,,,\"allow\",,\n"},
		{"iscsi", "#node,server,target,lun,iname,file,userid,passwd,kernel,kcmdline,initrd,comments,disable\n"},
	}
	for _, tt := range tests {
		if got := dump(t, db, tt.table); got != tt.want {
			t.Errorf("%s is\n%s, want\n%s", tt.table, got, tt.want)
		}
	}
}

func TestParseCSV(t *testing.T) {
	tests := []struct{ name, table, text, want string }{
		{"plain", "site", "#key,value,comments,disable\n\"a\",\"b\",,\n", "a|b||"},
		{"unquoted", "site", "#key,value\na,b\n", "a|b||"},
		{"other order", "site", "#value,key\nb,a\n", "a|b||"},
		{"short row", "site", "#key,value,comments,disable\n\"a\"\n", "a|||"},
		{"doubled quotes and commas", "site", "#key,value\n\"a\",\"b \"\"c\"\", d\"\n", `a|b "c", d||`},
		{"line break within", "site", "#key,value\n\"a\",\"b\nc\"\n\"d\",\n", "a|b\nc||;d|||"},
		{"remarks, blank lines, CRLF", "site", "#key,value\r\n\r\n# no\r\n\"a\",\"b\"\r\n", "a|b||"},
		{"blanks around", "site", "# key , value\n \"a\" , b c \n", "a|b c||"},
		{"no newline at the end", "site", "#key,value\n\"a\",\"b\"", "a|b||"},
		{"nothing", "site", "#key,value\n", ""},
		{"several keys", "passwd", "#key,username,password\nvmware,root,x\nvmware,,y\n", "vmware|root|x||||;vmware||y||||"},
	}
	for _, tt := range tests {
		rows, err := nodedb.ParseCSV(nodedb.TableByName(tt.table), tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, r := range rows {
			got = append(got, strings.Join(r, "|"))
		}
		if s := strings.Join(got, ";"); s != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, s, tt.want)
		}
	}
}

func TestParseCSVRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no header", "\"a\",\"b\"\n", "Data missing header line starting with #"},
		{"empty", "", "Data missing header line starting with #"},
		{"unknown column", "#key,val\n", "column 'val' should exist, which is not defined in the schema for 'site'"},
		{"column twice", "#key,key\n", "column key twice"},
		{"open quote", "#key,value\n\"a\",\"b\n", "CSV unmatched quote in line 2"},
		{"quote within", "#key,value\na,b\"c\n", "CSV unmatched quote in line 2"},
		{"text after quote", "#key,value\n\"a\"x,b\n", "CSV unescaped \" in record on line 2"},
		{"too many", "#key,value\na,b\nc,d,e\n", "Too many fields on line 3"},
		{"no key", "#key,value\n,b\n", "line 2: table site: no value for key"},
		{"key twice", "#key,value\na,b\na,c\n", "line 3: the same key as on line 2"},
		{"NUL", "#key,value\na,b\x00\n", "line 2: site.value: a NUL"},
		{"not UTF-8", "#key,value\na,\xff\n", "line 2: site.value: not UTF-8"},
		{"separator", "#key,value\na\x1fb,c\n", "unit separator"},
	}
	for _, tt := range tests {
		rows, err := nodedb.ParseCSV(nodedb.TableByName("site"), tt.text)
		if !errors.Is(err, nodedb.ErrInvalid) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: %q, %v, want %q", tt.name, rows, err, tt.want)
		}
	}
}

// A table of any kind, dumped, restored elsewhere and dumped again, is the same
// byte by byte, in whatever order tables are restored.
func TestDumpRestoreDump(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	from := nodedbtest.New(t)
	edit(t, from, func(e *nodedb.Editor) error {
		for _, table := range nodedb.Tables() {
			if err := e.ReplaceTable(table, randomRows(rnd, table), false); err != nil {
				return err
			}
		}
		return nil
	})
	dumps := make(map[string]string)
	var names []string
	for _, table := range nodedb.Tables() {
		dumps[table.Name] = dump(t, from, table.Name)
		names = append(names, table.Name)
	}
	for range 3 {
		rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		to := nodedbtest.New(t)
		define(t, to, "node", "gone", "groups=all", "os=x")
		change(t, to, "group", "node3", "mgt=esx")
		for _, name := range names {
			restore(t, to, name, dumps[name], false)
		}
		for _, name := range names {
			if got := dump(t, to, name); got != dumps[name] {
				t.Errorf("%s is\n%s, was\n%s", name, got, dumps[name])
			}
		}
	}
}

// randomRows are up to six rows with values that are hard to quote. Node
// tables get rows of nodes, groups and names that are neither.
func randomRows(rnd *rand.Rand, t *nodedb.Table) [][]string {
	texts := []string{"", "", "x", `"`, `""`, ",", "a,b", "#", " lead", "trail ", "a\nb", "ü€", `\`, "'", "|^.*$||", "a\r\nb", "\t"}
	var rows [][]string
	for i := range rnd.IntN(6) {
		row := make([]string, len(t.Columns))
		for j, c := range t.Columns {
			row[j] = texts[rnd.IntN(len(texts))]
			if t.IsKey(c.Name) {
				row[j] = fmt.Sprintf("%s%d", c.Name, i)
			}
			if c.Name == "groups" {
				row[j] = "groupname1"
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func TestRestoreAdds(t *testing.T) {
	db := nodedbtest.New(t)
	change(t, db, "site", nodedb.SiteObject, "a=1", "b=2")
	restore(t, db, "site", "#key,value\nb,3\nc,4\n", true)
	expect(t, db, "site", nodedb.SiteObject, "a=1 b=3 c=4")
	restore(t, db, "site", "#key,value\nc,5\n", false)
	expect(t, db, "site", nodedb.SiteObject, "c=5")
}

// Nodes that a restored nodelist lacks are no nodes any more.
func TestRestoreNodelist(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n1", "groups=all", "os=x")
	define(t, db, "node", "n2", "groups=all", "os=y")
	restore(t, db, "nodelist", "#node,groups\nn2,a\nn3,b\n", false)
	expect(t, db, "node", "n1", "none")
	expect(t, db, "node", "n2", "groups=a os=y")
	expect(t, db, "node", "n3", "groups=b")
	if got := nodedb.NewView(db.Snapshot()).Names(nodedb.TypeByName("node")); !slices.Equal(got, []string{"n2", "n3"}) {
		t.Errorf("nodes are %q", got)
	}
}

func FuzzParseCSV(f *testing.F) {
	for _, s := range []string{"#key,value\n\"a\",\"b\"\"c\"\n", "#key\na\n\n#x\n", "#value,key\r\n\"\n\",b", "#", "#key,value,comments,disable\na,,,\n"} {
		f.Add(s)
	}
	table := nodedb.TableByName("site")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := nodedb.ParseCSV(table, text)
		if err != nil {
			return
		}
		var list []nodedb.Row
		for _, r := range rows {
			list = append(list, nodedb.Row{Values: r})
		}
		var b strings.Builder
		nodedb.WriteCSV(&b, table, list)
		again, err := nodedb.ParseCSV(table, b.String())
		if err != nil || !slices.EqualFunc(rows, again, slices.Equal) {
			t.Errorf("%q was read as %q, written as %q, read as %q, %v", text, rows, b.String(), again, err)
		}
	})
}

// What another program wrote is read or refused, and what is read can be
// written and read again.
func FuzzParseForeignCSV(f *testing.F) {
	for _, s := range []string{"#node,os,new\n\"n1\",\"a\"\"b\",x\n", "#node\n\xe9\n", "node\n", "#,,\n,\n", "#node,node\na,b\n"} {
		f.Add(s)
	}
	t := nodedb.TableByName("nodetype")
	f.Fuzz(func(tt *testing.T, text string) {
		rows, _, _, err := nodedb.ParseForeignCSV(t, text)
		if err != nil {
			return
		}
		var list []nodedb.Row
		for _, values := range rows {
			if len(values) != len(t.Columns) {
				tt.Fatalf("a row of %d values: %q", len(values), values)
			}
			list = append(list, nodedb.Row{Values: values})
		}
		var b strings.Builder
		if err := nodedb.WriteCSV(&b, t, list); err != nil {
			tt.Fatal(err)
		}
		again, err := nodedb.ParseCSV(t, b.String())
		if err != nil || len(again) != len(rows) {
			tt.Fatalf("%q read again: %d rows of %d, %v", b.String(), len(again), len(rows), err)
		}
	})
}
