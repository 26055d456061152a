package esxsh

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"margay/nodedb"
	"margay/vm"
)

func TestParseVMs(t *testing.T) {
	out := "Vmid     Name                    File                          Guest OS      Version   Annotation\n" +
		"Skipping invalid VM '4'\n" +
		"12     my vm (old)     [datastore 2] my vm/my vm.vmx     otherGuest64   vmx-13   a note\n" +
		"that wraps\n" +
		"3      vm1             [ds] vm1/vm1.vmx                  rhel8_64Guest   vmx-19           \r\n"
	want := []listed{
		{"12", "my vm (old)", vm.Path{Datastore: "datastore 2", File: "my vm/my vm.vmx"}, "otherGuest64", "vmx-13"},
		{"3", "vm1", vm.Path{Datastore: "ds", File: "vm1/vm1.vmx"}, "rhel8_64Guest", "vmx-19"},
	}
	if got := parseVMs(out); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := parseVMs("Vmid   Name   File   Guest OS   Version   Annotation\n"); got != nil {
		t.Errorf("of an empty host: %+v", got)
	}
}

const summary = `Listsummary:

(vim.vm.Summary) {
   dynamicType = <unset>,
   vm = 'vim.VirtualMachine:128',
   runtime = (vim.vm.RuntimeInfo) {
      host = 'vim.HostSystem:ha-host',
      powerState = "poweredOn",
      bootTime = "2016-01-01T00:00:00Z",
      question = (vim.vm.QuestionInfo) null,
      featureMask = (vim.host.FeatureMask) [
         (vim.host.FeatureMask) {
            key = "cpuid.a",
         },
         (vim.host.FeatureMask) {
            key = "cpuid.b",
         }
      ],
      empty = (vim.X) [],
   },
   config = (vim.vm.Summary.ConfigSummary) {
      name = "vm, with = odd (name)",
      template = false,
      memorySizeMB = 512,
   },
}
`

func TestParseDump(t *testing.T) {
	d, err := parseDump(summary)
	if err != nil {
		t.Fatal(err)
	}
	if d.str("runtime", "powerState") != "poweredOn" || d.str("config", "name") != "vm, with = odd (name)" || d.int("config", "memorySizeMB") != 512 {
		t.Errorf("read as %+v", d.fields)
	}
	if d.str("dynamicType") != "" || d.str("runtime", "question") != "" || d.str("no", "such", "thing") != "" {
		t.Error("what is unset has a value")
	}
	if items := d.at("runtime", "featureMask").items; len(items) != 2 || items[1].str("key") != "cpuid.b" {
		t.Errorf("list read as %+v", items)
	}
	for _, bad := range []string{"", "(vim.X) {", "(vim.X) {\n a = ", "(vim.X) {\n a\n}", `(vim.X) { a = "b`} {
		if _, err := parseDump(bad); err == nil {
			t.Errorf("%q is let pass", bad)
		}
	}
}

func TestParseTable(t *testing.T) {
	out := "Name                Virtual Switch  Active Clients  VLAN ID\n" +
		"------------------  --------------  --------------  -------\n" +
		"Management Network  vSwitch0                     1        0\n" +
		"VM Network          vSwitch0                     0     4095\n"
	rows := parseTable(out)
	if len(rows) != 2 || rows[0]["Name"] != "Management Network" || rows[1]["VLAN ID"] != "4095" || rows[1]["Virtual Switch"] != "vSwitch0" {
		t.Errorf("got %v", rows)
	}
	if parseTable("nothing here\n") != nil {
		t.Error("a table is read where there is none")
	}
}

func TestParseMessage(t *testing.T) {
	q := parseMessage("Virtual machine message 12:\nmsg.uuid.altered:This virtual machine might have been moved or copied.\nIf you don't know, answer \"I _copied it\".\n\n   0. Cancel (Cancel)\n   1. I _moved it (I _moved it)\n   2. I _copied it (I _copied it) [default]\nAnswer required.\n")
	want := &vm.Question{ID: "12", Text: `msg.uuid.altered:This virtual machine might have been moved or copied. If you don't know, answer "I _copied it".`, Default: 2,
		Choices: []vm.Choice{{Key: "0", Label: "Cancel"}, {Key: "1", Label: "I _moved it"}, {Key: "2", Label: "I _copied it"}}}
	if !reflect.DeepEqual(q, want) {
		t.Errorf("got %+v, want %+v", q, want)
	}
	if q.MessageID() != "msg.uuid.altered" {
		t.Errorf("message id %q", q.MessageID())
	}
	if parseMessage("No message.\n") != nil {
		t.Error("a question where there is none")
	}
	if q := parseMessage("Virtual machine message _vmx1:\nx\n   0. OK (OK)\n"); q == nil || q.ID != "_vmx1" {
		t.Errorf("of a named message: %+v", q)
	}
}

func TestClassify(t *testing.T) {
	fault := "(vim.fault.InvalidPowerState) {\n   faultCause = (vmodl.MethodFault) null, \n   existingState = \"poweredOn\", \n   msg = \"The attempted operation cannot be performed in the current state (Powered on).\"\n}\n"
	tests := []struct {
		out   string
		err   error
		class error
		text  string
	}{
		{fault, nil, vm.ErrPowerState, "The attempted operation cannot be performed in the current state (Powered on)."}, // old hosts end with 0
		{"Failed to clone disk: The file already exists (39).\n", &failure{"", 255}, vm.ErrExists, "Failed to clone disk: The file already exists (39)."},
		{"Clone: 3% done.\rFailed to clone disk: No space left on device (1835017).\n", &failure{"", 255}, vm.ErrNoSpace, "Failed to clone disk: No space left on device (1835017)."},
		{"cat: can't open 'x': No such file or directory\n", &failure{"", 1}, vm.ErrNotFound, "cat: can't open 'x': No such file or directory"},
		{"A portgroup with the name x already exists\n", &failure{"", 1}, vm.ErrExists, "A portgroup with the name x already exists"},
	}
	for _, tt := range tests {
		err := classify(tt.out, tt.err)
		if !errors.Is(err, tt.class) || err.Error() != tt.text {
			t.Errorf("classify(%q) = %v, want %v", tt.out, err, tt.text)
		}
	}
	if err := classify("fine\n", nil); err != nil {
		t.Errorf("of success: %v", err)
	}
}

func TestQuote(t *testing.T) {
	if got := line("cat", "/vmfs/volumes/my ds/it's.vmx"); got != `cat '/vmfs/volumes/my ds/it'\''s.vmx'` {
		t.Errorf("got %s", got)
	}
	if got := line("x", "", "$(reboot)", "a;b"); got != `x '' '$(reboot)' 'a;b'` {
		t.Errorf("got %s", got)
	}
	if safe("a\nb") == nil || safe("a b") != nil {
		t.Error("line breaks are not told apart")
	}
}

func TestParseSwitches(t *testing.T) {
	got := parseSwitches("vSwitch0\n   Name: vSwitch0\n   Uplinks: vmnic0, vmnic1\n   Portgroups: VM Network\n\nvSwitch1\n   Name: vSwitch1\n   Uplinks: \n   Portgroups: \n\n")
	want := []vm.Switch{{Name: "vSwitch0", Uplinks: []string{"vmnic0", "vmnic1"}}, {Name: "vSwitch1"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseTasks(t *testing.T) {
	got := parseTasks("(ManagedObjectReference) [\n   'vim.Task:haTask-512-vim.VirtualMachine.powerOn-2826', \n   'vim.Task:haTask-512-vim.VirtualMachine.createSnapshot-2830'\n]\n")
	if want := []string{"haTask-512-vim.VirtualMachine.powerOn-2826", "haTask-512-vim.VirtualMachine.createSnapshot-2830"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := parseTasks("(ManagedObjectReference) []\n"); got != nil {
		t.Errorf("no tasks are %q", got)
	}
}

func TestParseLicence(t *testing.T) {
	out := "[200] Sending request for installed licenses...[200] Complete, result is:\n   serial: AAAAA-BBBBB-CCCCC-DDDDD-EEEEE\n   vmodl key: esx.standard\n   name: VMware vSphere 8 Standard\n   total: 1\n   used:  1\n   [feature] = vsmp:4 (\"Up to 4-way virtual SMP\")\n[200] End of report.\n"
	if got, want := parseLicence(out), (vm.Licence{Key: "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE", Name: "VMware vSphere 8 Standard"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := parseLicence("[200] End of report.\n"); got != (vm.Licence{}) {
		t.Errorf("no licence is %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(summary)
	f.Add("a  b\n-- --\n1  2\n")
	f.Add("Virtual machine message 1:\n   0. x (y) [default]\n")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseDump(s); err == nil {
			d.str("a", "b")
		}
		parseVMs(s)
		parseTasks(s)
		parseLicence(s)
		parseTable(s)
		parseMessage(s)
		parseSwitches(s)
		parseSnapshots(s, s)
		parseAutostarts(s, s)
		parseKernelNICs(s)
		parseTicket(s, "esx1")
	})
}

// The text is as hosts of 6.x print it, "Desciption" and all.
const snapshotTree = "Get Snapshot:\n|-ROOT\n--Snapshot Name        : snap01\n--Snapshot Id          : 1\n--Snapshot Desciption  : first: of all\n--Snapshot Created On  : 2/23/2015 18:12:50\n--Snapshot State       : powered on\n" +
	"--|-CHILD\n----Snapshot Name        : snap02\n----Snapshot Id        : 2\n----Snapshot Desciption  :\n----Snapshot Created On  : 12/3/2015 8:3:5\n----Snapshot State       : powered off\n"

func TestParseSnapshots(t *testing.T) {
	got := parseSnapshots(snapshotTree, "Get Snapshot:\n(vim.vm.SnapshotInfo) {\n   currentSnapshot = 'vim.vm.Snapshot:12-snapshot-2', \n")
	want := []vm.Snapshot{
		{ID: 1, Name: "snap01", Description: "first: of all", Created: time.Date(2015, 2, 23, 18, 12, 50, 0, time.UTC), State: nodedb.PowerOn},
		{ID: 2, Name: "snap02", Created: time.Date(2015, 12, 3, 8, 3, 5, 0, time.UTC), State: nodedb.PowerOff, Current: true, Depth: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := parseSnapshots("Get Snapshot:\n", "(vim.vm.SnapshotInfo) null"); got != nil {
		t.Errorf("a guest without snapshots has %+v", got)
	}
}

func TestParseTicket(t *testing.T) {
	for _, tt := range []struct{ out, url, thumbprint string }{
		{"(vim.VirtualMachine.Ticket) {\n   ticket = \"52ab\", \n   sslThumbprint = \"AA:BB\", \n   url = \"wss://localhost:443/ticket/52ab\"\n}\n", "wss://esx1:443/ticket/52ab", "AA:BB"},
		{"(vim.VirtualMachine.Ticket) {\n   ticket = \"52ab\", \n   host = <unset>, \n   sslThumbprint = \"AA:BB\"\n}\n", "wss://esx1:443/ticket/52ab", "AA:BB"},
		{"vmrc://clone:cst-VCT@localhost:443/?moid=12\n", "vmrc://clone:cst-VCT@esx1:443/?moid=12", ""},
		{"(vmodl.fault.NotSupported) {\n   msg = \"no\"\n}\n", "", ""},
		{"", "", ""},
	} {
		got := parseTicket(tt.out, "esx1")
		if got.URL != tt.url || got.Thumbprint != tt.thumbprint {
			t.Errorf("%q gives %+v, want %s %s", tt.out, got, tt.url, tt.thumbprint)
		}
	}
}

func TestParseAutostarts(t *testing.T) {
	defaults := "(vim.host.AutoStartManager.SystemDefaults) {\n   enabled = true, \n   startDelay = 120, \n   stopAction = \"PowerOff\"\n}\n"
	list := "(vim.host.AutoStartManager.AutoPowerInfo) [\n   (vim.host.AutoStartManager.AutoPowerInfo) {\n      key = 'vim.VirtualMachine:3', \n      startOrder = 1, \n      startDelay = 5, \n      startAction = \"PowerOn\", \n   }, \n" +
		"   (vim.host.AutoStartManager.AutoPowerInfo) {\n      key = 'vim.VirtualMachine:14', \n      startOrder = -1, \n      startDelay = -1, \n      startAction = \"none\"\n   }\n]\n"
	got, err := parseAutostarts(defaults, list)
	want := vm.Autostarts{Enabled: true, Guests: map[string]vm.Autostart{"3": {On: true, Order: 1, Delay: 5}, "14": {Delay: -1}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}
