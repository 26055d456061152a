package vm

import (
	"net/netip"
	"testing"
)

func TestParseLocation(t *testing.T) {
	tests := []struct {
		in   string
		want Location
		bad  bool
	}{
		{"nfs://192.168.0.1/vms/vmware", Location{Scheme: NFS, Server: "192.168.0.1", Export: "/vms/vmware"}, false},
		{"nfs://srv:/vms/", Location{Scheme: NFS, Server: "srv", Export: "/vms"}, false},
		{"nfs://srv/a=b/c=scsi", Location{Scheme: NFS, Server: "srv", Export: "/a=b/c", Bus: LSILogic}, false},
		{"vmfs://datastore1", Location{Scheme: VMFS, Name: "datastore1"}, false},
		{"vmfs://datastore1:/=pvscsi", Location{Scheme: VMFS, Name: "datastore1", Bus: PVSCSI}, false},
		{"vmfs://my%20disk=sas", Location{Scheme: VMFS, Name: "my disk", Bus: LSISAS}, false},
		{"VMFS://datastore1/", Location{Scheme: VMFS, Name: "datastore1"}, false},
		{"vmfs://", Location{}, true},
		{"nfs://srv", Location{}, true},
		{"dir:///vms", Location{}, true},
		{"phy:/dev/sda", Location{}, true},
		{"datastore1", Location{}, true},
		{"vmfs://a=floppy", Location{}, true},
		{"vmfs://a/b", Location{}, true},
	}
	for _, tt := range tests {
		got, err := ParseLocation(tt.in)
		if (err != nil) != tt.bad {
			t.Errorf("ParseLocation(%q): error %v", tt.in, err)
		} else if err == nil && got != tt.want {
			t.Errorf("ParseLocation(%q) = %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

// What is no storage of ESXi is refused in xCAT's words.
func TestForeignStorage(t *testing.T) {
	const plain = " not supported storage specification for ESX plugin,\n\t'nfs://<server>/<path>'\n\t\tor\n\t'vmfs://<vmfs>'\n only currently supported vm.storage supported for ESX at the moment"
	for in, want := range map[string]string{
		"phy:/dev/sda": "phy:/dev/sda" + plain, "dir:///vms": "dir:///vms" + plain, "iscsi://srv/x": "iscsi://srv/x" + plain, "datastore1": "datastore1" + plain,
		"lvm://vg0": "lvm is unsupported at this time (nfs would be)", "RBD://pool/x=scsi": "rbd is unsupported at this time (nfs would be)",
	} {
		if _, err := ParseLocation(in); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestLabel(t *testing.T) {
	tests := []struct{ in, want string }{
		{"nfs://192.168.0.1/vms/vmware", "nfs_192.168.0.1_vms_vmware"},
		{"nfs://storage.example.org/exports/vmware/abcd", "storage.example.org_exports_vmware_abcd"},         // without nfs_
		{"nfs://storage.example.org/exports/vmware/guests/a", "storageexampleorg_exports_vmware_guests_a"},   // without dots
		{"nfs://storage.example.org/exports/vm/guests/a/b/cc/d/e", "storageexampleorgexportsvmguestsabccde"}, // without underscores
		{"nfs://storage.example.org/exports/virtual/machines/production/one", "storageexampleorgexp..achinesproductionone"},
		{"vmfs://datastore1", "datastore1"},
	}
	for _, tt := range tests {
		l, err := ParseLocation(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		got := l.Label()
		if len(got) > maxLabel {
			t.Errorf("Label(%q) = %q: %d characters", tt.in, got, len(got))
		}
		if got != tt.want {
			t.Errorf("Label(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestLocationMatches(t *testing.T) {
	resolve := func(name string) ([]netip.Addr, error) {
		if name == "filer" {
			return []netip.Addr{netip.MustParseAddr("10.0.0.9")}, nil
		}
		return nil, ErrNotFound
	}
	nfs := Datastore{Name: "x", RemoteHost: "10.0.0.9", RemotePath: "/vms/"}
	tests := []struct {
		in   string
		d    Datastore
		want bool
	}{
		{"nfs://filer/vms", nfs, true},
		{"nfs://10.0.0.9/vms", nfs, true},
		{"nfs://filer/other", nfs, false},
		{"nfs://stranger/vms", nfs, false},
		{"vmfs://x", nfs, false}, // the name is right, the kind is not
		{"vmfs://x", Datastore{Name: "x"}, true},
		{"nfs://filer/vms", Datastore{Name: "filer"}, false},
	}
	for _, tt := range tests {
		l, err := ParseLocation(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Matches(tt.d, resolve); got != tt.want {
			t.Errorf("%s matches %+v: %v, want %v", tt.in, tt.d, got, tt.want)
		}
	}
}

func TestParsePath(t *testing.T) {
	p, err := ParsePath("[data store] vm1/vm1.vmx")
	if err != nil || p != (Path{"data store", "vm1/vm1.vmx"}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	if got := p.String(); got != "[data store] vm1/vm1.vmx" {
		t.Errorf("String = %q", got)
	}
	if got := p.Dir().Join("x").Volume(); got != "/vmfs/volumes/data store/vm1/x" {
		t.Errorf("Volume = %q", got)
	}
	if !p.Within(Path{"data store", "vm1"}) || p.Within(Path{"data store", "vm"}) || p.Within(Path{"other", "vm1"}) {
		t.Error("Within is wrong")
	}
	for _, bad := range []string{"", "vm1.vmx", "[x", "[] a"} {
		if _, err := ParsePath(bad); err == nil {
			t.Errorf("ParsePath(%q) is let pass", bad)
		}
	}
}

func FuzzParseLocation(f *testing.F) {
	f.Add("nfs://srv/path=scsi")
	f.Add("vmfs://d%2fs")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLocation(s)
		if err == nil && len(l.Label()) > maxLabel && l.Scheme == NFS {
			t.Errorf("%q: label %q", s, l.Label())
		}
	})
}
