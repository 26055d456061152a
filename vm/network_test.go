package vm

import (
	"errors"
	"reflect"
	"testing"
)

func TestVLANOf(t *testing.T) {
	tests := []struct {
		in   string
		want int
		bad  bool
	}{
		{"100", 100, false},
		{"trunk", Trunk, false},
		{"mytrunk2", Trunk, false},
		{"vlan42", 42, false},
		{"prod-vl7", 7, false},
		{"VLAN10", 10, false},
		{"VM Network", 0, false},
		{"vmn0", 0, false},
		{"vlan42-b", 0, false},
		{"4095", Trunk, false},
		{"4096", 0, true},
		{"vlan9999", 0, true},
		{"99999999999999999999", 0, true},
	}
	for _, tt := range tests {
		got, err := VLANOf(tt.in)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("VLANOf(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestParseNetworks(t *testing.T) {
	got, err := ParseNetworks("vmn0, phys1:vlan5=vmxnet3,=x")
	if err == nil {
		t.Errorf("a network without name is let pass: %+v", got)
	}
	got, err = ParseNetworks("vmn0, phys1:vlan5=vmxnet3,trunk")
	want := []NetworkSpec{{Name: "vmn0"}, {Physical: "phys1", Name: "vlan5", Model: "vmxnet3"}, {Name: "trunk"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestParseNICModel(t *testing.T) {
	for in, want := range map[string]NICModel{"": E1000, "VMXNET3": VMXNet3, "vlance": PCNet32, "e1000e": E1000e} {
		if m, note := ParseNICModel(in); m != want || note != "" {
			t.Errorf("ParseNICModel(%q) = %s, %q", in, m, note)
		}
	}
	if m, note := ParseNICModel("ne2000"); m != E1000 || note == "" {
		t.Errorf("an unknown model is %s, %q", m, note)
	}
}

func testHost() *Host {
	return &Host{
		Name:       "esx1",
		Switches:   []Switch{{"vSwitch0", []string{"vmnic0"}}, {"vSwitch1", []string{"vmnic1", "vmnic2"}}},
		PortGroups: []PortGroup{{"VM Network", "vSwitch0", 0}, {"vlan5", "vSwitch0", 5}, {"vlan6", "vSwitch0", 60}, {"vSwitch1-vlan9", "vSwitch1", 9}},
		Networks:   []string{"VM Network", "vlan5", "vlan6", "vSwitch1-vlan9", "dvs-prod"},
		Uplinks:    []string{"vmnic0", "vmnic1", "vmnic2", "vmnic3", "vmnic4"},
	}
}

func TestPlanNetwork(t *testing.T) {
	tests := []struct {
		name, spec, netmap, defaultnet string
		want                           NetworkPlan
		bad                            error
	}{
		{"is there", "vlan5", "", "", NetworkPlan{PortGroup: PortGroup{"vlan5", "vSwitch0", 5}, Exists: true}, nil},
		{"is there with another VLAN", "vlan6", "", "", NetworkPlan{}, ErrExists},
		{"distributed, by name", "dvs-prod", "", "", NetworkPlan{PortGroup: PortGroup{Name: "dvs-prod"}, Exists: true}, nil},
		{"made on the default switch", "vlan7", "", "", NetworkPlan{PortGroup: PortGroup{"vlan7", "vSwitch0", 7}}, nil},
		{"made on the host's default", "trunk", "", "vSwitch1", NetworkPlan{PortGroup: PortGroup{"trunk", "vSwitch1", Trunk}}, nil},
		{"default made of its cards", "8", "", "big=vmnic3&vmnic4", NetworkPlan{PortGroup: PortGroup{"8", "big", 8}, AddSwitch: &Switch{"big", []string{"vmnic3", "vmnic4"}}}, nil},
		{"default that is not there", "8", "", "big", NetworkPlan{}, ErrNotFound},
		{"by netmap, switch found by its cards", "prod:vlan3", "prod=vmnic2&vmnic1", "", NetworkPlan{PortGroup: PortGroup{"vSwitch1-vlan3", "vSwitch1", 3}}, nil},
		{"by netmap, port group there", "prod:vlan9", "prod=vmnic2&vmnic1", "", NetworkPlan{PortGroup: PortGroup{"vSwitch1-vlan9", "vSwitch1", 9}, Exists: true}, nil},
		{"by netmap, switch made", "lab:x", "lab=vmnic3", "", NetworkPlan{PortGroup: PortGroup{"lab-x", "lab", 0}, AddSwitch: &Switch{"lab", []string{"vmnic3"}}}, nil},
		{"cards named in the network itself", "vmnic3&vmnic4:x", "", "", NetworkPlan{PortGroup: PortGroup{"vswvmnic3&vmnic4-x", "vswvmnic3&vmnic4", 0}, AddSwitch: &Switch{"vswvmnic3&vmnic4", []string{"vmnic3", "vmnic4"}}}, nil},
		{"no such card", "lab:x", "lab=vmnic9", "", NetworkPlan{}, ErrNotFound},
		{"card taken", "lab:x", "lab=vmnic1&vmnic3", "", NetworkPlan{}, ErrExists},
		{"not in the netmap", "other:x", "lab=vmnic3", "", NetworkPlan{}, ErrInvalid},
	}
	for _, tt := range tests {
		n, err := ParseNetwork(tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseNetMap(tt.netmap, tt.defaultnet)
		if err != nil {
			t.Fatal(err)
		}
		got, err := PlanNetwork(n, m, testHost())
		if !errors.Is(err, tt.bad) || err == nil && tt.bad != nil {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.bad)
			continue
		}
		if err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func FuzzParseNetworks(f *testing.F) {
	f.Add("a:b=c,vlan9,trunk")
	f.Fuzz(func(t *testing.T, s string) {
		nets, err := ParseNetworks(s)
		for _, n := range nets {
			if v, e := VLANOf(n.Name); err == nil && (e != nil || v < 0 || v > Trunk) {
				t.Errorf("%q: VLAN %d, %v", s, v, e)
			}
		}
	})
}
