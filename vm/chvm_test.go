package vm

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"margay/nodedb"
)

// testVM has two IDE disks, its CD drive, a SCSI disk and two cards.
func testVM(state nodedb.PowerState) VM {
	return VM{
		ID: "1", Name: "vm1", State: state, Path: Path{"ds", "vm1/vm1.vmx"}, UUID: "658f1942-79d5-26fb-8de7-3ae49e1790a7", CPUs: 2, MemoryMB: 1024,
		Spec: &Spec{
			Name: "vm1", CPUs: 2, MemoryMB: 1024, CPUHotAdd: true,
			Controllers: []Controller{{200, IDE, 0}, {201, IDE, 1}, {1000, LSILogic, 0}},
			Disks: []Disk{
				{Key: 3000, Label: "Hard disk 1", Controller: 200, Unit: 0, KB: 4 << 20, Path: Path{"ds", "vm1/vm1.vmdk"}},
				{Key: 3001, Label: "Hard disk 2", Controller: 200, Unit: 1, KB: 2<<20 + 1, Path: Path{"ds", "vm1/vm1_1.vmdk"}},
				{Key: 2001, Label: "Hard disk 3", Controller: 1000, Unit: 1, KB: 1 << 20, Path: Path{"ds", "vm1/vm1_2.vmdk"}},
			},
			CDROMs: []CDROM{{Key: 3002, Label: "CD/DVD drive 1", Controller: 201, Unit: 0}},
			NICs: []NIC{
				{Key: 4000, Label: "Network adapter 1", MAC: "42:1b:c0:a8:05:ca", Network: "VM Network", Model: E1000},
				{Key: 4001, Label: "Network adapter 2", MAC: "00:50:56:00:00:01", Network: "vlan5", Model: VMXNet3},
			},
		},
	}
}

func testGuest() *Guest {
	return &Guest{Name: "vm1", Node: &nodedb.Node{Name: "vm1"}, Bus: IDE, Format: Thin, Storage: []Location{{Scheme: VMFS, Name: "ds"}}}
}

func TestPlanChange(t *testing.T) {
	const on, off = nodedb.PowerOn, nodedb.PowerOff
	tests := []struct {
		name  string
		state nodedb.PowerState
		req   ChangeRequest
		want  string // what the change says of itself
		bad   error
		text  string // of the error
	}{
		{"add to IDE's last place", off, ChangeRequest{Add: []string{"2"}}, "add disk: 2048 MB thin at d201:1 on [ds]", nil, ""},
		{"IDE is full", off, ChangeRequest{Add: []string{"2,2"}}, "", ErrInvalid, "VM is at capacity for IDE devices, a drive was not added"},
		{"IDE needs it off", on, ChangeRequest{Add: []string{"2"}}, "", ErrPowerState, "(Powered on)"},
		{"SCSI has room at 0, then 2", on, ChangeRequest{Add: []string{"1=scsi,1=scsi"}}, "add disk: 1024 MB thin at d1000:0 on [ds]\nadd disk: 1024 MB thin at d1000:2 on [ds]", nil, ""},
		{"a controller is added", on, ChangeRequest{Add: []string{"1=pvscsi"}, Format: "eagerzeroedthick"}, "add controller: pvscsi 1\nadd disk: 1024 MB eagerzeroedthick at d1001:0 on [ds]", nil, ""},
		{"nvme", off, ChangeRequest{Add: []string{"1=nvme"}}, "add controller: nvme 0\nadd disk: 1024 MB thin at d31000:0 on [ds]", nil, ""},
		{"detach by label", off, ChangeRequest{Detach: []string{"Hard disk 2"}}, "detach disk: Hard disk 2 (d200:1): 2048.0009765625 MB @ [ds] vm1/vm1_1.vmdk", nil, ""},
		{"purge by place", off, ChangeRequest{Purge: []string{"d200:1"}}, "purge disk: Hard disk 2 (d200:1): 2048.0009765625 MB @ [ds] vm1/vm1_1.vmdk", nil, ""},
		{"by number, list", off, ChangeRequest{Detach: []string{"2,3"}}, "detach disk: Hard disk 2 (d200:1): 2048.0009765625 MB @ [ds] vm1/vm1_1.vmdk\ndetach disk: Hard disk 3 (d1000:1): 1024 MB @ [ds] vm1/vm1_2.vmdk", nil, ""},
		{"by unit, which fits two", off, ChangeRequest{Detach: []string{"d1"}}, "", ErrInvalid, "d200:1 and d1000:1"},
		{"unit that fits one", off, ChangeRequest{Detach: []string{"d0"}}, "detach disk: Hard disk 1 (d200:0): 4096 MB @ [ds] vm1/vm1.vmdk", nil, ""},
		{"none such", off, ChangeRequest{Detach: []string{"Hard disk 9"}}, "", ErrNotFound, "Disk:  Hard disk 9 does not exist"},
		{"the same twice", off, ChangeRequest{Detach: []string{"2"}, Purge: []string{"2"}}, "", ErrNotFound, ""},
		{"IDE off while on", on, ChangeRequest{Detach: []string{"2"}}, "", ErrPowerState, ""},
		{"SCSI off while on", on, ChangeRequest{Detach: []string{"3"}}, "detach disk: Hard disk 3 (d1000:1): 1024 MB @ [ds] vm1/vm1_2.vmdk", nil, ""},
		{"place of a detached disk is free", off, ChangeRequest{Detach: []string{"2"}, Add: []string{"1"}}, "add disk: 1024 MB thin at d200:1 on [ds]\ndetach disk: Hard disk 2 (d200:1): 2048.0009765625 MB @ [ds] vm1/vm1_1.vmdk", nil, ""},
		{"grow by", off, ChangeRequest{Resize: []string{"Hard disk 1=+2G"}}, "grow disk: Hard disk 1 (d200:0) to 6144 MB", nil, ""},
		{"grow each by its own", off, ChangeRequest{Resize: []string{"1,3=+1"}}, "grow disk: Hard disk 1 (d200:0) to 5120 MB\ngrow disk: Hard disk 3 (d1000:1) to 2048 MB", nil, ""},
		{"grow to", on, ChangeRequest{Resize: []string{"3=8G"}}, "grow disk: Hard disk 3 (d1000:1) to 8192 MB", nil, ""},
		{"shrink", off, ChangeRequest{Resize: []string{"1=1G"}}, "", ErrInvalid, "smaller"},
		{"no size", off, ChangeRequest{Resize: []string{"1"}}, "", ErrInvalid, "Could not parse options"},
		{"cpus", off, ChangeRequest{CPUs: "+1"}, "cpus: 3", nil, ""},
		{"cpus, hot", on, ChangeRequest{CPUs: "4"}, "cpus: 4", nil, ""},
		{"fewer cpus, hot", on, ChangeRequest{CPUs: "-1"}, "", ErrPowerState, ""},
		{"no cpus", off, ChangeRequest{CPUs: "-2"}, "", ErrInvalid, ""},
		{"memory", off, ChangeRequest{Memory: "-512"}, "memory: 512 MB", nil, ""},
		{"memory without hot add", on, ChangeRequest{Memory: "2G"}, "", ErrPowerState, "hot-add"},
		{"insert", on, ChangeRequest{Optical: "x.iso"}, "insert cd: [iso] x.iso", nil, ""},
		{"eject", on, ChangeRequest{Eject: true}, "eject cd", nil, ""},
		{"other", off, ChangeRequest{Other: []string{"a.b=c", "d="}}, "set a.b = \"c\"\nset d = \"\"", nil, ""},
		{"other, wrong", off, ChangeRequest{Other: []string{"a"}}, "", ErrInvalid, "Invalid format"},
		{"claims", off, ChangeRequest{Scheduler: []string{"reservation=500", "limit=-1", "shares=-3"}}, "cpu reservation: 500\ncpu limit: -1\ncpu shares: high", nil, ""},
		{"limit below reservation", off, ChangeRequest{Scheduler: []string{"reservation=500", "limit=400"}}, "", ErrInvalid, "limit"},
		{"card added", on, ChangeRequest{AddNIC: []string{"n1=vmxnet3"}}, "add nic: vmxnet3 mac1 on pg1", nil, ""},
		{"card moved", on, ChangeRequest{SetNIC: []string{"2=n1"}}, "move nic: Network adapter 2 to pg1", nil, ""},
		{"card of another model", off, ChangeRequest{SetNIC: []string{"00:50:56:00:00:01=n1=e1000e"}}, "add nic: e1000e 00:50:56:00:00:01 on pg1\nremove nic: Network adapter 2 00:50:56:00:00:01", nil, ""},
		{"card removed", off, ChangeRequest{RemoveNIC: []string{"1"}}, "remove nic: Network adapter 1 42:1b:c0:a8:05:ca", nil, ""},
		{"no such card", off, ChangeRequest{RemoveNIC: []string{"7"}}, "", ErrNotFound, ""},
	}
	for _, tt := range tests {
		c, err := PlanChange(testVM(tt.state), testGuest(), tt.req, "ds", Path{"iso", "x.iso"}, []string{"pg1"}, []string{"mac1"})
		if tt.bad != nil {
			if !errors.Is(err, tt.bad) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: error %v, want %v: %s", tt.name, err, tt.bad, tt.text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := strings.Join(c.Describe(), "\n"); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestGrowRefused(t *testing.T) {
	v := testVM(nodedb.PowerOff)
	v.Snapshots = []string{"before"}
	req := ChangeRequest{Resize: []string{"1=8G"}}
	if _, err := PlanChange(v, testGuest(), req, "ds", Path{}, nil, nil); err == nil || !strings.Contains(err.Error(), "snapshots (before)") {
		t.Errorf("with snapshots: %v", err)
	}
	v = testVM(nodedb.PowerOff)
	v.Spec.Disks[0].Parent = &Path{"ds", "m/m.vmdk"}
	if _, err := PlanChange(v, testGuest(), req, "ds", Path{}, nil, nil); err == nil || !strings.Contains(err.Error(), "linked") {
		t.Errorf("of a linked disk: %v", err)
	}
}

func TestPlaceFillsSCSI(t *testing.T) {
	s := &Spec{}
	var got []int
	for range 15 {
		d, _, err := s.newDisk(PVSCSI, 1, Thin, "ds")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d.Unit)
	}
	if want := []int{0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15}; !reflect.DeepEqual(got, want) {
		t.Errorf("units %v, want %v", got, want)
	}
	for range 45 {
		if _, _, err := s.newDisk(PVSCSI, 1, Thin, "ds"); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.newDisk(LSILogic, 1, Thin, "ds"); err == nil {
		t.Error("a fifth SCSI controller is let pass")
	}
	if len(s.Controllers) != 4 {
		t.Errorf("%d controllers, want 4", len(s.Controllers))
	}
}

func TestApplyIsWhatTheChangeSays(t *testing.T) {
	v := testVM(nodedb.PowerOff)
	req := ChangeRequest{Add: []string{"1=pvscsi"}, Purge: []string{"2"}, Resize: []string{"1=8G"}, CPUs: "4", Memory: "2G", Optical: "x", Other: []string{"k=v"}, RemoveNIC: []string{"1"}}
	c, err := PlanChange(v, testGuest(), req, "ds", Path{"iso", "x.iso"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := cloneSpec(*v.Spec)
	s.Apply(c)
	if s.CPUs != 4 || s.MemoryMB != 2048 || len(s.Disks) != 3 || s.Disks[0].KB != 8<<20 || len(s.NICs) != 1 || s.CDROMs[0].ISO.File != "x.iso" {
		t.Errorf("applied: %+v", s)
	}
	if got, _ := s.Setting("K"); got != "v" {
		t.Errorf("setting k = %q", got)
	}
	if len(v.Spec.Disks) != 3 || v.Spec.Disks[0].KB != 4<<20 {
		t.Error("the guest as it was is changed too")
	}
}
