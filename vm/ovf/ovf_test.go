package ovf

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"margay/vm"
)

// sample has what packages of others have: prefixes of their own, sizes to
// choose from, old units, hardware that may be left out.
const sample = `<?xml version="1.0"?>
<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="x">
  <ovf:References><ovf:File ovf:href="d.vmdk" ovf:id="f1" ovf:size="4711"/></ovf:References>
  <ovf:DiskSection><ovf:Info>i</ovf:Info>
    <ovf:Disk ovf:capacity="20" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="d1" ovf:fileRef="f1"/>
    <ovf:Disk ovf:capacity="1073741824" ovf:diskId="d2"/>
  </ovf:DiskSection>
  <ovf:NetworkSection><ovf:Info>i</ovf:Info><ovf:Network ovf:name="front"/><ovf:Network ovf:name="back"/></ovf:NetworkSection>
  <ovf:DeploymentOptionSection><ovf:Info>i</ovf:Info>
    <ovf:Configuration ovf:id="small"><ovf:Label>Small</ovf:Label></ovf:Configuration>
    <ovf:Configuration ovf:id="large" ovf:default="true"><ovf:Label>Large</ovf:Label></ovf:Configuration>
  </ovf:DeploymentOptionSection>
  <ovf:VirtualSystem ovf:id="x1">
    <ovf:Info>i</ovf:Info><ovf:Name>thing</ovf:Name>
    <ovf:OperatingSystemSection ovf:id="94"><ovf:Info>i</ovf:Info></ovf:OperatingSystemSection>
    <ovf:ProductSection ovf:class="com.x"><ovf:Info>i</ovf:Info><ovf:Product>Thing</ovf:Product><ovf:Version>2</ovf:Version>
      <ovf:Property ovf:key="ip" ovf:type="string" ovf:userConfigurable="true"><ovf:Label>Address</ovf:Label></ovf:Property></ovf:ProductSection>
    <ovf:EulaSection><ovf:Info>i</ovf:Info><ovf:License>Be good.</ovf:License></ovf:EulaSection>
    <ovf:VirtualHardwareSection><ovf:Info>i</ovf:Info>
      <ovf:System><vssd:VirtualSystemType>vmx-10 vmx-13</vssd:VirtualSystemType></ovf:System>
      <ovf:Item ovf:configuration="small"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></ovf:Item>
      <ovf:Item ovf:configuration="large"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity><vmw:CoresPerSocket ovf:required="false">2</vmw:CoresPerSocket></ovf:Item>
      <ovf:Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2047</rasd:VirtualQuantity></ovf:Item>
      <ovf:Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:InstanceID>5</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></ovf:Item>
      <ovf:Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></ovf:Item>
      <ovf:Item><rasd:Address>1</rasd:Address><rasd:InstanceID>4</rasd:InstanceID><rasd:ResourceSubType>vmware.sata.ahci</rasd:ResourceSubType><rasd:ResourceType>20</rasd:ResourceType></ovf:Item>
      <ovf:Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>/disk/d2</rasd:HostResource><rasd:InstanceID>6</rasd:InstanceID><rasd:Parent>4</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></ovf:Item>
      <ovf:Item ovf:required="false"><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:InstanceID>7</rasd:InstanceID><rasd:Parent>4</rasd:Parent><rasd:ResourceType>15</rasd:ResourceType></ovf:Item>
      <ovf:Item><rasd:Connection>back</rasd:Connection><rasd:InstanceID>8</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></ovf:Item>
      <ovf:Item ovf:required="false"><rasd:ElementName>Sound</rasd:ElementName><rasd:InstanceID>9</rasd:InstanceID><rasd:ResourceType>35</rasd:ResourceType></ovf:Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
      <vmw:ExtraConfig ovf:required="false" vmw:key="disk.EnableUUID" vmw:value="TRUE"/>
    </ovf:VirtualHardwareSection>
  </ovf:VirtualSystem>
</ovf:Envelope>`

func TestParse(t *testing.T) {
	p, err := Parse([]byte(sample), "")
	if err != nil {
		t.Fatal(err)
	}
	s := p.Spec
	if s.CPUs != 4 || s.CoresPerSocket != 2 || s.MemoryMB != 2048 || s.GuestID != "ubuntu64Guest" || s.Firmware != "efi" || s.Version != "vmx-13" {
		t.Errorf("%+v", s)
	}
	if v, _ := s.Setting("disk.enableuuid"); v != "TRUE" {
		t.Errorf("settings: %v", s.Extra)
	}
	if len(s.Disks) != 2 || s.Disks[0].KB != 20<<20 || s.Disks[0].Controller != 1000 || s.Disks[0].Unit != 1 || s.Disks[0].Path.File != "d.vmdk" ||
		s.Disks[1].KB != 1<<20 || s.Disks[1].Controller != 15000 || s.Disks[1].Path.File != "" {
		t.Errorf("disks: %+v", s.Disks)
	}
	if len(s.CDROMs) != 1 || s.CDROMs[0].Controller != 15000 || s.CDROMs[0].Unit != 1 {
		t.Errorf("drives: %+v", s.CDROMs)
	}
	if len(s.NICs) != 1 || s.NICs[0].Network != "back" || s.NICs[0].Model != vm.VMXNet3 || !s.NICs[0].Connected {
		t.Errorf("cards: %+v", s.NICs)
	}
	if s.Controller(1000).Bus != vm.PVSCSI || s.Controller(200) == nil {
		t.Errorf("controllers: %+v", s.Controllers)
	}
	if len(p.EULA) != 1 || p.Product != "Thing 2" || len(p.Properties) != 1 || p.Properties[0].Key != "com.x.ip" || len(p.Options) != 2 || len(p.Notes) != 1 || p.Files[0].Size != 4711 {
		t.Errorf("%+v", p)
	}
	if small, err := Parse([]byte(sample), "small"); err != nil || small.Spec.CPUs != 1 {
		t.Errorf("small: %v", err)
	}
	if _, err := Parse([]byte(sample), "huge"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "small, large") {
		t.Errorf("huge: %v", err)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ old, new, part string }{
		{`ovf:href="d.vmdk"`, `ovf:href="../d.vmdk"`, "beside the descriptor"},
		{`ovf:href="d.vmdk"`, `ovf:href="d.vmdk" ovf:compression="gzip"`, "compressed"},
		{`ovf:href="d.vmdk"`, `ovf:href="d.vmdk" ovf:chunkSize="7"`, "in pieces"},
		{`ovf:fileRef="f1"`, `ovf:fileRef="f2"`, "no file of the package"},
		{`ovf:fileRef="f1"`, `ovf:fileRef="f1" ovf:parentRef="d2"`, "differs from another"},
		{`ovf:capacity="20"`, `ovf:capacity="70000"`, "over 62 TB"},
		{`ovf:capacity="20"`, `ovf:capacity="${size}"`, "number"},
		{`byte * 2^30`, `furlong`, "unit"},
		{`<rasd:Connection>back`, `<rasd:Connection>nowhere`, "does not name"},
		{`ovf:/disk/d1`, `ovf:/disk/d9`, "does not name"},
		{`ovf:required="false"><rasd:ElementName>Sound`, `><rasd:ElementName>Sound`, "not known here"},
		{`</ovf:VirtualSystem>`, `</ovf:VirtualSystem><ovf:VirtualSystem ovf:id="x2"/>`, "several guests"},
		{`vmw:value="TRUE"`, "vmw:value=\"a&#10;b\"", "line break"},
		{`<ovf:VirtualSystem `, `<ovf:Other `, "invalid OVF"},
	} {
		text := strings.Replace(sample, tt.old, tt.new, 1)
		if text == sample {
			t.Fatalf("%q is not in the sample", tt.old)
		}
		if _, err := Parse([]byte(text), ""); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.part) {
			t.Errorf("%s: %v, want %q in it", tt.new, err, tt.part)
		}
	}
}

// What is written is read again as it was.
func TestFormat(t *testing.T) {
	p, err := Parse([]byte(sample), "")
	if err != nil {
		t.Fatal(err)
	}
	s := p.Spec
	s.Name, s.Annotation = `a <b> & "c"`, "two\nlines"
	s.CoresPerSocket = 0
	text, err := Format(&s, []Data{{"x-disk1.vmdk", 100, 50}, {"x-disk2.vmdk", 200, 0}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text, "")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	s.Disks[0].Path.File, s.Disks[1].Path.File = "x-disk1.vmdk", "x-disk2.vmdk"
	if !reflect.DeepEqual(got.Spec, s) {
		t.Errorf("comes back as\n%+v\nnot\n%+v", got.Spec, s)
	}
	if _, err := Format(&s, nil); err == nil {
		t.Error("disks without files are let pass")
	}
}

func TestManifest(t *testing.T) {
	m := Manifest{"x.ovf": {"SHA256", strings.Repeat("ab", 32)}, "a.vmdk": {"SHA1", strings.Repeat("cd", 20)}}
	text := m.Format()
	if !bytes.HasPrefix(text, []byte("SHA256(x.ovf)= abab")) {
		t.Errorf("%s", text)
	}
	got, err := ParseManifest(text)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"x", "SHA256(x)= 12", "MD5(x)= " + strings.Repeat("ab", 16), "SHA1(x)= zz"} {
		if _, err := ParseManifest([]byte(bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	content := map[string]string{"x.ovf": sample, "d.vmdk": "the disk", "x.mf": "SHA1(d.vmdk)= " + strings.Repeat("cd", 20) + "\n"}
	var b bytes.Buffer
	err := WriteArchive(&b, []string{"x.ovf", "x.mf", "d.vmdk"}, time.Unix(0, 0), func(n string) (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader(content[n])), int64(len(content[n])), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "x.ova")
	os.WriteFile(name, b.Bytes(), 0o644)
	for n, text := range content {
		os.WriteFile(filepath.Join(dir, n), []byte(text), 0o644)
	}
	for _, n := range []string{name, filepath.Join(dir, "x.ovf")} {
		s, err := OpenFile(n)
		if err != nil {
			t.Fatal(err)
		}
		if string(s.Descriptor) != sample || s.Manifest["d.vmdk"].Algorithm != "SHA1" {
			t.Errorf("%s: %d bytes, %v", n, len(s.Descriptor), s.Manifest)
		}
		f, size, err := s.Open("d.vmdk")
		if err != nil || size != 8 {
			t.Fatalf("%s: %d, %v", n, size, err)
		}
		got, _ := io.ReadAll(f)
		if string(got) != "the disk" {
			t.Errorf("%s: %q", n, got)
		}
		f.Close()
		if _, _, err := s.Open("other"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", n, err)
		}
		s.Close()
	}
	var twice bytes.Buffer
	w := tar.NewWriter(&twice)
	for range 2 {
		w.WriteHeader(&tar.Header{Name: "x.ovf", Size: 1, Mode: 0o644})
		w.Write([]byte("x"))
	}
	w.Close()
	for what, b := range map[string][]byte{"no archive": []byte("hello"), "one file twice": twice.Bytes()} {
		os.WriteFile(name, b, 0o644)
		if _, err := OpenFile(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample), "small")
	f.Fuzz(func(t *testing.T, b []byte, option string) {
		p, err := Parse(b, option)
		if err != nil {
			return
		}
		for _, file := range p.Files {
			if strings.ContainsAny(file.Href, "/\\") {
				t.Errorf("file outside: %q", file.Href)
			}
		}
		data := make([]Data, len(p.Spec.Disks))
		for i := range data {
			data[i].Href = "x"
		}
		if _, err := Format(&p.Spec, data); err != nil {
			t.Error(err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte("SHA1(d.vmdk)= " + strings.Repeat("cd", 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		if again, err := ParseManifest(m.Format()); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%q comes back as %v, %v", b, again, err)
		}
	})
}
