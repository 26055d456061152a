package domxml_test

import (
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"margay/vm"
	"margay/vm/domxml"
	"margay/vm/vmx"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of libvirt's documentation.
func TestExamples(t *testing.T) {
	for _, name := range []string{"demo.xml", "example.xml", "from-native.xml"} {
		s, err := domxml.Decode(read(t, "testdata/"+name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		disk := vm.Disk{Key: 2000, Label: "Hard disk 1", Controller: 1000, Path: vm.Path{Datastore: "local-storage", File: "Fedora11/Fedora11.vmdk"}}
		if s.Name != "Fedora11" || s.UUID != "50115e16-9bdc-49d7-f171-53c4d7f91710" || s.MemoryMB != 1024 || s.CPUs != 1 || len(s.Disks) != 1 || s.Disks[0] != disk {
			t.Errorf("%s: %+v", name, s)
		}
		if c := s.Controller(1000); c == nil || c.Bus != vm.LSILogic {
			t.Errorf("%s: controllers %+v", name, s.Controllers)
		}
		if len(s.NICs) != 1 || s.NICs[0].Network != "VM Network" || !strings.HasPrefix(s.NICs[0].MAC, "00:50:56:") {
			t.Errorf("%s: cards %+v", name, s.NICs)
		}
	}
}

// tree is an XML document as paths with their attributes and texts; the order
// of what stands side by side does not count.
func tree(t *testing.T, b []byte) []string {
	t.Helper()
	var out, path []string
	dec := xml.NewDecoder(strings.NewReader(string(b)))
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			slices.Sort(out)
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			path = append(path, e.Name.Local)
			for _, a := range e.Attr {
				out = append(out, strings.Join(path, "/")+"@"+a.Name.Local+"="+a.Value)
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if s := strings.TrimSpace(string(e)); s != "" {
				out = append(out, strings.Join(path, "/")+"="+s)
			}
		}
	}
}

// What libvirt's documentation shows for its sample .vmx is all in ours.
func TestDemoFromNative(t *testing.T) {
	s, err := vmx.Codec{}.Decode(read(t, "../vmx/testdata/demo.vmx"))
	if err != nil {
		t.Fatal(err)
	}
	s.Disks[0].Path.Datastore = "local-storage" // by which name the host knows it
	b, err := domxml.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	ours := tree(t, b)
	for _, line := range tree(t, read(t, "testdata/from-native.xml")) {
		if !slices.Contains(ours, line) {
			t.Errorf("lacks %s", line)
		}
	}
	if t.Failed() {
		t.Logf("%s", b)
	}
}

// What libvirt's documentation shows for its sample XML is all in ours.
func TestDemoToNative(t *testing.T) {
	s, err := domxml.Decode(read(t, "testdata/demo.xml"))
	if err != nil {
		t.Fatal(err)
	}
	s.Version = "vmx-04"
	b, err := vmx.Codec{}.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := vmx.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := vmx.Parse(read(t, "../vmx/testdata/demo-native.vmx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range want.Keys() {
		if k == "ethernet0.connectionType" {
			continue // of hosted products; ESXi goes by the network's name
		}
		w, _ := want.Get(k)
		if g, ok := got.Get(k); !ok || !strings.EqualFold(g, w) {
			t.Errorf("%s = %q, want %q", k, g, w)
		}
	}
}

func full() *vm.Spec {
	limit, reserve, mem := int64(-1), int64(500), int64(256)
	return &vm.Spec{
		Name: "vm <1>", UUID: "658f1942-79d5-26fb-8de7-3ae49e1790a7", GuestID: "rhel8_64Guest", Firmware: "efi", Version: "vmx-19", Annotation: "one\n\"two\"",
		CPUs: 4, CoresPerSocket: 2, MemoryMB: 2048, CPUHotAdd: true, Boot: []vm.BootDevice{vm.BootNet, vm.BootDisk, vm.BootCD},
		Scheduler:   vm.Scheduler{CPUReservation: &reserve, CPULimit: &limit, CPUShares: "high", MemReservation: &mem, MemShares: "low", Latency: "high"},
		Controllers: []vm.Controller{{Key: 200, Bus: vm.IDE}, {Key: 201, Bus: vm.IDE, Number: 1}, {Key: 1000, Bus: vm.PVSCSI}, {Key: 1001, Bus: vm.BusLogic, Number: 1}, {Key: 15000, Bus: vm.SATA}, {Key: 31000, Bus: vm.NVMe}},
		Disks: []vm.Disk{
			{Key: 2008, Label: "Hard disk 1", Controller: 1000, Unit: 8, Path: vm.Path{Datastore: "ds 1", File: "v/v.vmdk"}},
			{Key: 2016, Label: "Hard disk 2", Controller: 1001, Path: vm.Path{Datastore: "ds 1", File: "v/v_1.vmdk"}},
			{Key: 16002, Label: "Hard disk 3", Controller: 15000, Unit: 2, Path: vm.Path{Datastore: "ds 1", File: "v/v_2.vmdk"}},
			{Key: 32001, Label: "Hard disk 4", Controller: 31000, Unit: 1, Path: vm.Path{Datastore: "ds 1", File: "v/v_3.vmdk"}},
			{Key: 3001, Label: "Hard disk 5", Controller: 200, Unit: 1, Path: vm.Path{Datastore: "ds 1", File: "v/v_4.vmdk"}},
		},
		CDROMs: []vm.CDROM{
			{Key: 3002, Label: "CD/DVD drive 1", Controller: 201, ISO: vm.Path{Datastore: "iso", File: "x.iso"}, Connected: true},
			{Key: 3003, Label: "CD/DVD drive 2", Controller: 201, Unit: 1},
		},
		NICs: []vm.NIC{
			{Key: 4000, Label: "Network adapter 1", MAC: "42:1b:c0:a8:05:ca", MACType: "manual", Network: "VM Network", Model: vm.VMXNet3, Connected: true},
			{Key: 4001, Label: "Network adapter 2", MAC: "00:0c:29:00:00:01", MACType: "generated", Network: "vlan5", Model: vm.PCNet32},
			{Key: 4002, Label: "Network adapter 3", MAC: "00:50:56:91:48:c7", MACType: "assigned", Network: "x", Model: vm.Flexible, Connected: true},
		},
		Extra: []vm.Setting{{Key: "ethernet0.checkMACAddress", Value: "false"}, {Key: "my.key", Value: "a & <b>"}},
	}
}

func TestThereAndBack(t *testing.T) {
	b, err := domxml.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	got, err := domxml.Decode(b)
	if err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	if !reflect.DeepEqual(got, full()) {
		t.Errorf("comes back as\n%+v\nwant\n%+v\nfrom\n%s", got, full(), b)
	}
}

func TestRefused(t *testing.T) {
	base := string(read(t, "testdata/demo.xml"))
	for _, r := range [][2]string{
		{"type='vmware'", "type='kvm'"}, {"<name>Fedora11</name>", ""}, {"1048576", "lots"}, {"<vcpu>1", "<vcpu>0"}, {"model='lsilogic'", "model='ide'"},
		{"index='0'", "index='9'"}, {"unit='0'", "unit='7'"}, {"bus='scsi'", "bus='usb'"}, {"00:50:56:25:48:c7", "01:00:5e:00:00:01"}, {"</domain>", ""},
		{"50115e16", "x"}, {"</domain>", "</domain><domain/>"},
	} {
		if !strings.Contains(base, r[0]) {
			t.Fatalf("%q is not in the sample", r[0])
		}
		if _, err := domxml.Decode([]byte(strings.Replace(base, r[0], r[1], -1))); err == nil {
			t.Errorf("%q for %q is let pass", r[1], r[0])
		}
	}
}

// virsh, which shares no code with us, reads the .vmx files that we write, and
// finds in them what we meant.
func TestAgainstVirsh(t *testing.T) {
	bin, err := exec.LookPath("virsh")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal("virsh is not installed (package libvirt-clients)")
		}
		t.Skip("virsh is not installed (package libvirt-clients)")
	}
	dir := t.TempDir()
	player := "#!/bin/sh\necho 'VMware Player 16.2.4 build-20089737'\n" // all that virsh asks of it offline
	for _, name := range []string{"vmplayer", "vmrun"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(player), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := full()
	s.Name, s.Disks, s.Controllers = "vm1", s.Disks[:3], s.Controllers[:5] // virsh knows no NVMe
	s.Controllers[3].Bus = vm.LSILogic                                     // nor does it tell more than the first controller's model
	text, err := vmx.Codec{}.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "vm1.vmx")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", "vmwareplayer:///session", "domxml-from-native", "vmware-vmx", file)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("virsh: %v\n%s\n%s", err, errs.String(), text)
	}
	got, err := domxml.Decode(out)
	if err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if got.Name != s.Name || got.UUID != s.UUID || got.MemoryMB != s.MemoryMB || got.CPUs != s.CPUs || got.CoresPerSocket != s.CoresPerSocket ||
		got.Firmware != s.Firmware || got.Annotation != s.Annotation || got.Scheduler.CPUShares != s.Scheduler.CPUShares {
		t.Errorf("virsh finds\n%+v\nwant\n%+v", got, s)
	}
	var places, want []string
	for _, d := range got.Disks {
		places = append(places, d.ID()+" "+d.Path.Volume())
	}
	for _, d := range s.Disks {
		want = append(want, d.ID()+" "+d.Path.Volume())
	}
	slices.Sort(places)
	slices.Sort(want)
	if !slices.Equal(places, want) {
		t.Errorf("virsh finds disks\n%v\nwant\n%v", places, want)
	}
	for i, n := range s.NICs {
		if i >= len(got.NICs) || got.NICs[i].MAC != n.MAC || got.NICs[i].Network != n.Network {
			t.Errorf("virsh finds cards %+v", got.NICs)
			break
		}
	}
	for _, c := range got.Controllers {
		if o := s.Controller(c.Key); o == nil || o.Bus != c.Bus {
			t.Errorf("virsh finds controller %+v", c)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", text, out)
	}
}

func TestDecodeFragment(t *testing.T) {
	f, err := domxml.DecodeFragment([]byte(`<devices><controller type='scsi' index='0' model='lsisas1068'/><sound model='es1370'/>
<interface type='bridge'><model type='vmxnet3'/></interface></devices><cpu><topology sockets='2' cores='2' threads='1'/><feature name='x'/></cpu>
<os firmware='efi'/><metadata><guest xmlns="urn:margay:vmx"><setting key="tools.syncTime">TRUE</setting></guest></metadata><on_crash>restart</on_crash>`))
	want := &vm.Fragment{SCSI: vm.LSISAS, Card: vm.VMXNet3, Cores: 2, Firmware: "efi", Settings: []vm.Setting{{Key: "tools.syncTime", Value: "TRUE"}},
		Unused: []string{"on_crash", "cpu/feature", "devices/sound"}}
	if err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("got %+v, %v, want %+v", f, err, want)
	}
	if f, err := domxml.DecodeFragment([]byte(`<domain type='vmware'><devices><controller type='scsi' model='vmpvscsi'/></devices></domain>`)); err != nil || f.SCSI != vm.PVSCSI {
		t.Errorf("a whole domain gives %+v, %v", f, err)
	}
	for _, bad := range []string{"<devices>", "</fragment><fragment>", "<devices><controller type='scsi' model='virtio-scsi'/></devices>", "<os firmware='coreboot'/>",
		"<cpu><topology sockets='1' cores='0'/></cpu>", "<devices><interface><model type='virtio'/></interface></devices>",
		"<devices><controller type='scsi' model='lsilogic'/><controller type='scsi' model='buslogic'/></devices>"} {
		if f, err := domxml.DecodeFragment([]byte(bad)); err == nil {
			t.Errorf("%s is taken for %+v", bad, f)
		}
	}
}

func FuzzFragment(f *testing.F) {
	f.Add([]byte("<devices><controller type='scsi' model='lsisas1068'/></devices>"))
	f.Fuzz(func(_ *testing.T, b []byte) { domxml.DecodeFragment(b) })
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"demo.xml", "from-native.xml"} {
		f.Add(read(f, "testdata/"+name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := domxml.Decode(b)
		if err != nil {
			return
		}
		if _, err := domxml.Encode(s); err != nil {
			t.Errorf("what was read is not written: %v", err)
		}
	})
}
