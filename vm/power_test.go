package vm

import (
	"strings"
	"testing"

	"margay/nodedb"
)

func TestStep(t *testing.T) {
	const on, off, sus = nodedb.PowerOn, nodedb.PowerOff, nodedb.PowerSuspended
	tests := []struct {
		word  PowerWord
		state nodedb.PowerState
		op    PowerOp
		text  string
	}{
		{WordStat, on, "", "on"}, {WordStat, off, "", "off"}, {WordStat, sus, "", "suspend"},
		{WordOn, on, "", "on"}, {WordOn, off, OpOn, "on"}, {WordOn, sus, OpOn, "on"},
		{WordOff, on, OpOff, "off"}, {WordOff, off, "", "off"}, {WordOff, sus, "", "suspend"},
		{WordSoftOff, on, OpShutdown, "softoff"}, {WordSoftOff, off, "", "off"}, {WordSoftOff, sus, "", "suspend"},
		{WordReset, on, OpReset, "reset"}, {WordReset, off, "", "off"}, {WordReset, sus, "", "suspend"},
		{WordBoot, on, OpReset, "on reset"}, {WordBoot, off, OpOn, "off on"}, {WordBoot, sus, OpOn, "suspend on"},
		{WordSuspend, on, OpSuspend, "suspend"}, {WordSuspend, off, "", "off"}, {WordSuspend, sus, "", "off"},
	}
	for _, tt := range tests {
		if op, text := tt.word.Step(tt.state); op != tt.op || text != tt.text {
			t.Errorf("%s of a guest that is %s: %q, %q, want %q, %q", tt.word, tt.state, op, text, tt.op, tt.text)
		}
	}
}

func TestParsePowerWord(t *testing.T) {
	for in, want := range map[string]PowerWord{"stat": WordStat, "state": WordStat, "status": WordStat, "ON": WordOn} {
		if w, err := ParsePowerWord(in); w != want || err != nil {
			t.Errorf("%q = %s, %v", in, w, err)
		}
	}
	for _, bad := range []string{"cycle", "pause", "nmi", ""} {
		if _, err := ParsePowerWord(bad); err == nil {
			t.Errorf("%q is let pass", bad)
		}
	}
}

func TestParseBootOrder(t *testing.T) {
	tests := []struct {
		in, want, key string
		note, bad     bool
	}{
		{"net,hd", "net,hd", "allow:net,hd", false, false},
		{"hd", "hd", "allow:hd", false, false},
		{"setup", "setup", "", false, false},
		{"setup,net", "setup", "", true, false},
		{"stat", "stat", "", false, false},
		{"def", "def", "", false, false},
		{"stat,net", "", "", false, true},
		{"usb", "", "", false, true},
	}
	for _, tt := range tests {
		o, note, err := ParseBootOrder(tt.in)
		if (err != nil) != tt.bad || (note != "") != tt.note {
			t.Errorf("%q: %q, %v", tt.in, note, err)
			continue
		}
		if err == nil && (o.Text != tt.want || bootClasses(o.Devices) != tt.key) {
			t.Errorf("%q: %+v", tt.in, o)
		}
	}
}

func TestInventoryLines(t *testing.T) {
	want := `Managed Object Reference: 1
UUID/GUID: 42198f65-d579-fb26-8de7-3ae49e1790a7
CPUs: 2
Memory: 1024 MB
Hard disk 1 (d200:0): 4096 MB @ [ds] vm1/vm1.vmdk
Hard disk 2 (d200:1): 2048.0009765625 MB @ [ds] vm1/vm1_1.vmdk
Hard disk 3 (d1000:1): 1024 MB @ [ds] vm1/vm1_2.vmdk
Network adapter 1: 42:1b:c0:a8:05:ca
Network adapter 2: 00:50:56:00:00:01`
	if got := strings.Join(testVM(nodedb.PowerOn).Inventory(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPolicy(t *testing.T) {
	q := Question{ID: "1", Text: "msg.uuid.altered:This virtual machine might have been moved or copied.", Default: 2,
		Choices: []Choice{{"0", "Cancel"}, {"1", "I _moved it"}, {"2", "I _copied it"}}}
	tests := []struct {
		name string
		p    Policy
		key  string
		bad  string
	}{
		{"report and cancel", Policy{}, "0", "it mismatched against the hypervisor"},
		{"moved", Policy{Moved: true}, "1", ""},
		{"default", Policy{Default: true}, "2", ""},
		{"rule by label", Policy{Rules: map[string]string{"msg.uuid.altered": "moved"}}, "1", ""},
		{"rule by key", Policy{Rules: map[string]string{"msg.uuid.altered": "2"}}, "2", ""},
		{"rule of another", Policy{Rules: map[string]string{"msg.other": "2"}}, "0", "mismatched"},
	}
	for _, tt := range tests {
		key, err := tt.p.Answer(q)
		if key != tt.key || (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%s: %q, %v", tt.name, key, err)
		}
	}
	hang := Question{Text: "msg.hbacommon.outofspace:There is no more space", Choices: []Choice{{"0", "Retry"}}, Default: -1}
	if key, err := (Policy{Default: true, Moved: true}).Answer(hang); key != "" || err == nil || !strings.Contains(err.Error(), "no more space") {
		t.Errorf("without a way out: %q, %v", key, err)
	}
}

func TestSameHost(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"esx1", "ESX1", true}, {"esx1", "esx1.example.org", true}, {"esx1.a", "esx1.b", false},
		{"esx1", "esx10", false}, {"10.0.0.1", "10.0.0.1", true}, {"10.0.0.1", "10", false}, {"", "", true}, {"", ".x", false},
	}
	for _, tt := range tests {
		if got := SameHost(tt.a, tt.b); got != tt.want {
			t.Errorf("SameHost(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}
