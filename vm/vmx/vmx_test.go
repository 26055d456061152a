package vmx

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"margay/vm"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The sample of libvirt's documentation keeps every key and every line.
func TestDemoSurvives(t *testing.T) {
	for _, name := range []string{"demo.vmx", "demo-native.vmx"} {
		b := read(t, name)
		d, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Format(); !bytes.Equal(got, b) {
			t.Errorf("%s comes back as\n%s", name, got)
		}
		s, err := d.Spec()
		if err != nil {
			t.Fatal(err)
		}
		d.Update(s)
		got, want := lower(string(d.Format())), lower(string(b))
		for _, line := range strings.Split(want, "\n") {
			if !strings.Contains(got, line) {
				t.Errorf("%s loses %q when nothing changes", name, line)
			}
		}
	}
}

func lower(s string) string { return strings.ToLower(s) }

func TestDemoMeans(t *testing.T) {
	s, err := Codec{}.Decode(read(t, "demo.vmx"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "Fedora11" || s.UUID != "50115e16-9bdc-49d7-f171-53c4d7f91710" || s.MemoryMB != 1024 || s.CPUs != 1 || s.GuestID != "rhel5Guest" || s.Version != "vmx-04" {
		t.Errorf("scalars: %+v", s)
	}
	wantDisk := vm.Disk{Key: 2000, Label: "Hard disk 1", Controller: 1000, Path: vm.Path{Datastore: "498076b2-02796c1a-ef5b-000ae484a6a3", File: "Fedora11/Fedora11.vmdk"}}
	if len(s.Disks) != 1 || s.Disks[0] != wantDisk {
		t.Errorf("disks: %+v", s.Disks)
	}
	if len(s.CDROMs) != 1 || s.CDROMs[0].Connected || s.CDROMs[0].Controller != 200 {
		t.Errorf("cd: %+v", s.CDROMs)
	}
	wantNIC := vm.NIC{Key: 4000, Label: "Network adapter 1", MAC: "00:50:56:91:48:c7", MACType: "assigned", Network: "VM Network", Model: vm.Flexible, Connected: true}
	if len(s.NICs) != 1 || s.NICs[0] != wantNIC {
		t.Errorf("nics: %+v", s.NICs)
	}
	if s.Scheduler.CPULimit == nil || *s.Scheduler.CPULimit != -1 || s.Scheduler.CPUShares != "normal" {
		t.Errorf("claims: %+v", s.Scheduler)
	}
	for _, k := range []string{"chipset.onlineStandby", "guestOSAltName", "scsi0:0.redo", "tools.remindInstall", "sched.swap.derivedName", "ide0:0.clientDevice", "powerType.reset"} {
		if _, ok := s.Setting(k); !ok {
			t.Errorf("key %s is lost", k)
		}
	}
}

func TestEncodeDecode(t *testing.T) {
	limit, reserve := int64(-1), int64(500)
	s := &vm.Spec{
		Name: `odd "name" | x`, UUID: "658f1942-79d5-26fb-8de7-3ae49e1790a7", GuestID: "rhel8_64Guest", Firmware: "efi", Version: "vmx-19",
		Annotation: "one\ntwo \"three\"", CPUs: 4, CoresPerSocket: 2, MemoryMB: 2048, CPUHotAdd: true,
		Scheduler:   vm.Scheduler{CPUReservation: &reserve, CPULimit: &limit, CPUShares: "high", MemShares: "2000"},
		Boot:        []vm.BootDevice{vm.BootNet, vm.BootDisk},
		Controllers: []vm.Controller{{Key: 200, Bus: vm.IDE}, {Key: 201, Bus: vm.IDE, Number: 1}, {Key: 1000, Bus: vm.PVSCSI}, {Key: 15000, Bus: vm.SATA}, {Key: 31000, Bus: vm.NVMe}},
		Disks: []vm.Disk{
			{Key: 2001, Label: "Hard disk 1", Controller: 1000, Unit: 1, Path: vm.Path{Datastore: "ds 1", File: "v/v.vmdk"}},
			{Key: 16002, Label: "Hard disk 2", Controller: 15000, Unit: 2, Path: vm.Path{Datastore: "ds 1", File: "v/v_1.vmdk"}},
			{Key: 32000, Label: "Hard disk 3", Controller: 31000, Path: vm.Path{Datastore: "ds 1", File: "v/v_2.vmdk"}},
		},
		CDROMs: []vm.CDROM{{Key: 3002, Label: "CD/DVD drive 1", Controller: 201, ISO: vm.Path{Datastore: "iso", File: "x.iso"}, Connected: true}},
		NICs: []vm.NIC{
			{Key: 4000, Label: "Network adapter 1", MAC: "42:1b:c0:a8:05:ca", MACType: "manual", Network: "VM Network", Model: vm.VMXNet3, Connected: true},
			{Key: 4001, Label: "Network adapter 2", MACType: "generated", Network: "vlan5", Model: vm.VMXNet2},
			{Key: 4002, Label: "Network adapter 3", MAC: "00:50:56:00:00:01", MACType: "manual", Network: "x", Model: vm.PCNet32, Connected: true},
		},
		Extra: []vm.Setting{{Key: "ethernet0.checkMACAddress", Value: "false"}, {Key: "my.key", Value: "a|b"}},
	}
	b, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Codec{}.Decode(b)
	if err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	for _, k := range []string{"nvram", "pciBridge4.virtualDev", "vmci0.present"} {
		if _, ok := got.Setting(k); !ok {
			t.Errorf("lacks %s", k)
		}
	}
	got.Extra = slices.DeleteFunc(got.Extra, func(e vm.Setting) bool {
		return strings.HasPrefix(e.Key, "pciBridge") || e.Key == "vmci0.present" || e.Key == "hpet0.present" || e.Key == "nvram"
	})
	if !reflect.DeepEqual(got, s) {
		t.Errorf("comes back as\n%+v\nwant\n%+v\nfrom\n%s", got, s, b)
	}
}

func TestChange(t *testing.T) {
	old := read(t, "demo.vmx")
	cpus, mb := 2, int64(2048)
	c := &vm.Change{
		CPUs: &cpus, MemoryMB: &mb,
		AddControllers: []vm.Controller{{Key: 1001, Bus: vm.PVSCSI, Number: 1}},
		AddDisks:       []vm.Disk{{Key: -100, Controller: 1001, Unit: 0, Path: vm.Path{Datastore: "ds", File: "F/F_1.vmdk"}}},
		RemoveNICs:     []vm.NIC{{Key: 4000}},
		AddNICs:        []vm.NIC{{Key: -200, MAC: "42:00:00:00:00:01", MACType: "manual", Network: "vlan7", Model: vm.E1000, Connected: true}},
		EditCDROM:      &vm.CDROM{Key: 3000, Controller: 200, ISO: vm.Path{Datastore: "iso", File: "x.iso"}, Connected: true},
		Extra:          []vm.Setting{{Key: "tools.remindInstall"}, {Key: "new.key", Value: "v"}},
		SetBoot:        true, Boot: []vm.BootDevice{vm.BootNet, vm.BootDisk},
	}
	b, err := Codec{}.Change(old, c)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{`memsize = "2048"`, `numvcpus = "2"`, `scsi1.virtualDev = "pvscsi"`, `scsi1:0.fileName = "/vmfs/volumes/ds/F/F_1.vmdk"`,
		`ethernet0.address = "42:00:00:00:00:01"`, `ethernet0.virtualDev = "e1000"`, `ide0:0.deviceType = "cdrom-image"`, `ide0:0.fileName = "/vmfs/volumes/iso/x.iso"`,
		`new.key = "v"`, `bios.bootOrder = "ethernet0,hdd"`, `scsi0.sharedBus = "none"`, `chipset.onlineStandby = "false"`} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	for _, gone := range []string{"tools.remindInstall", "generatedAddress", "00:50:56:91:48:c7"} {
		if strings.Contains(text, gone) {
			t.Errorf("still has %s", gone)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	c = &vm.Change{RemoveDisks: []vm.DiskRemoval{{Disk: vm.Disk{Key: 2000}}}}
	if b, err = (Codec{}).Change(old, c); err != nil || strings.Contains(string(b), "scsi0:0") {
		t.Errorf("a disk that is taken off leaves keys behind: %v\n%s", err, b)
	}
}

func TestGuestOS(t *testing.T) {
	for id, os := range map[string]string{
		"rhel8_64Guest": "rhel8-64", "rhel5Guest": "rhel5", "ubuntu64Guest": "ubuntu-64", "otherGuest64": "other-64", "otherGuest": "other",
		"otherLinux64Guest": "otherlinux-64", "windows7Server64Guest": "windows7srv-64", "windows2019srv_64Guest": "windows2019srv-64",
		"oracleLinux8_64Guest": "oraclelinux8-64", "vmkernel7Guest": "vmkernel7", "sles15_64Guest": "sles15-64", "vmwarePhoton64Guest": "vmware-photon-64",
		"winLonghorn64Guest": "longhorn-64", "coreos64Guest": "coreos-64", "freebsd13_64Guest": "freebsd13-64",
	} {
		if got := guestOS(id); got != os {
			t.Errorf("guestOS(%s) = %s, want %s", id, got, os)
		}
		if got := guestID(os); got != id {
			t.Errorf("guestID(%s) = %s, want %s", os, got, id)
		}
	}
}

func TestParse(t *testing.T) {
	d, err := Parse([]byte("\xef\xbb\xbf# c\r\nA.b = \"x|22y|7Cz|0a\"\na.B=\"last\" # tail\nbare = 5\n"))
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := d.Get("a.b"); v != "last" {
		t.Errorf("a.b = %q", v)
	}
	if v, _ := d.Get("bare"); v != "5" {
		t.Errorf("bare = %q", v)
	}
	for _, bad := range []string{"novalue", "= x", "a = \"open", "two words = x", strings.Repeat("#", maxSize+1)} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q is let pass", clip(bad))
		}
	}
	if _, err := (Codec{}).Decode([]byte("memSize = \"lots\"")); err == nil {
		t.Error("memory of no number is let pass")
	}
	if v := mustSpec(t, "displayName = \"caf\xe9\"").Name; v != "café" {
		t.Errorf("Latin-1 name: %q", v)
	}
}

func mustSpec(t *testing.T, text string) *vm.Spec {
	t.Helper()
	s, err := Codec{}.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func FuzzParse(f *testing.F) {
	for _, n := range []string{"demo.vmx", "demo-native.vmx"} {
		b, err := os.ReadFile("testdata/" + n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		once := d.Format()
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%q", err, once)
		}
		if !bytes.Equal(again.Format(), once) {
			t.Errorf("not stable:\n%q\n%q", once, again.Format())
		}
		if s, err := d.Spec(); err == nil {
			d.Update(s)
		}
	})
}
