package vm

import (
	"strings"

	"margay/nodedb"
)

// A Spec is the hardware of a guest, as every backend and every format of a
// guest's definition understands it.
type Spec struct {
	Name           string
	Home           Path   // its .vmx; a datastore alone lets the host name the folder
	UUID           string // as vSphere writes it; SwapUUID gives SMBIOS's form
	GuestID        string // vSphere's word: rhel8_64Guest
	Firmware       string // bios or efi; empty: the host's default
	Version        string // hardware version, vmx-13; empty: the host's default
	Annotation     string
	CPUs           int
	CoresPerSocket int
	MemoryMB       int64
	CPUHotAdd      bool
	MemoryHotAdd   bool
	Scheduler      Scheduler
	Boot           []BootDevice // empty: the firmware's own order
	EnterSetup     bool         // stop in the firmware's setup at the next boot

	Controllers []Controller
	Disks       []Disk
	CDROMs      []CDROM
	NICs        []NIC
	Serial      []SerialPort
	Extra       []Setting // further .vmx keys, in order
}

// A Setting is one key of a .vmx file. An empty value removes it.
type Setting struct{ Key, Value string }

// ParseSettings reads vm.othersettings, "key=value;key2=value2". A key alone
// is a key without value.
func ParseSettings(s string) ([]Setting, error) {
	var out []Setting
	for _, f := range strings.Split(s, ";") {
		if strings.TrimSpace(f) == "" {
			continue
		}
		k, v, _ := strings.Cut(f, "=")
		k, v = strings.TrimSpace(k), strings.Trim(strings.TrimSpace(v), `"`)
		if k == "" || strings.ContainsAny(k+v, "\r\n") {
			return nil, Errorf(ErrInvalid, "Invalid format for other parameter specification: %q; write key=value", f)
		}
		out = append(out, Setting{k, v})
	}
	return out, nil
}

// A Controller is what disks hang on. Its key says which it is: 200 and 201
// are the IDE channels, 1000 to 1003 SCSI, 15000 on SATA, 31000 on NVMe.
type Controller struct {
	Key    int32
	Bus    Bus
	Number int // of its kind: scsi0, scsi1
}

// A Disk is a virtual disk. For a guest that is to be made, a Path without
// file asks for a new one beside the guest's configuration.
type Disk struct {
	Key        int32
	Label      string // "Hard disk 1"
	Controller int32  // key
	Unit       int
	KB         int64
	Path       Path
	Format     Format
	Mode       string // persistent, independent_persistent, ...; empty: persistent
	New        bool   // the file is to be made
	Parent     *Path  // a linked disk's base
}

// A NIC is a network card.
type NIC struct {
	Key       int32
	Label     string // "Network adapter 1"
	MAC       string // lower case, with colons; empty: the host makes one
	MACType   string // manual, generated, assigned
	Network   string // port group
	Model     NICModel
	Connected bool // at power on
}

// A CDROM is an optical drive. Without ISO it is the empty remote drive.
type CDROM struct {
	Key        int32
	Label      string // "CD/DVD drive 1"
	Controller int32
	Unit       int
	ISO        Path
	Connected  bool // at power on
}

// A Scheduler is a guest's claim on its host. Nil leaves a value as it is.
type Scheduler struct {
	CPUReservation *int64 // MHz
	CPULimit       *int64 // MHz; -1: none
	CPUShares      string // low, normal, high, or a number; empty: as it is
	MemReservation *int64 // MB
	MemLimit       *int64 // MB; -1: none
	MemShares      string
	Latency        string // low, normal, medium, high
}

// A VM is a guest as its hypervisor knows it.
type VM struct {
	ID       string // the hypervisor's own
	Name     string
	Host     string // host that runs it, as the hypervisor calls it
	State    nodedb.PowerState
	Template bool
	Path     Path // its .vmx
	UUID     string
	GuestID  string
	CPUs     int
	MemoryMB int64
	Invalid  bool // its files cannot be read
	// Question is what it asks and waits for; nil: nothing.
	Question *Question
	Tools    bool   // VMware Tools is running
	Address  string // of the guest, as Tools tells it
	// Snapshots and Spec are known where the query asked for detail.
	Snapshots []string
	Spec      *Spec
}

// Disk finds a disk by its key.
func (s *Spec) Disk(key int32) *Disk {
	for i := range s.Disks {
		if s.Disks[i].Key == key {
			return &s.Disks[i]
		}
	}
	return nil
}

// Controller finds a controller by its key.
func (s *Spec) Controller(key int32) *Controller {
	for i := range s.Controllers {
		if s.Controllers[i].Key == key {
			return &s.Controllers[i]
		}
	}
	return nil
}

// Setting finds a .vmx key; keys are the same in any case.
func (s *Spec) Setting(key string) (string, bool) {
	for _, e := range s.Extra {
		if strings.EqualFold(e.Key, key) {
			return e.Value, true
		}
	}
	return "", false
}

// Set changes a .vmx key, or adds it at the end; an empty value removes it.
func (s *Spec) Set(key, value string) {
	for i, e := range s.Extra {
		if !strings.EqualFold(e.Key, key) {
			continue
		}
		if value == "" {
			s.Extra = append(s.Extra[:i:i], s.Extra[i+1:]...)
			return
		}
		s.Extra[i].Value = value
		return
	}
	if value != "" {
		s.Extra = append(s.Extra, Setting{key, value})
	}
}
