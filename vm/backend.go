package vm

import (
	"context"
	"io"
	"time"
)

// About is what an endpoint says of itself.
type About struct {
	Kind        Kind
	Version     string // 8.0.2
	Build       string
	Name        string // "VMware ESXi 8.0.2 build-22380479"
	Licence     string
	Restricted  bool   // changes through the API are forbidden
	Reason      string // why
	Fingerprint string // SHA-256 of the certificate that it showed
	FirstSight  bool   // no one vouched for that before
	Thumbprint  string // SHA-1 of it
	Via         string // api, ssh, "api+ssh"
}

// A Query asks for guests.
type Query struct {
	Names   []string // exact; nil: all
	Brief   bool     // name, state and host only
	NoState bool     // of a brief look: not even the state
	Detail  bool     // with Spec and Snapshots
}

// A Host is one hypervisor as it is now.
type Host struct {
	ID          string
	Name        string // as the hypervisor or its vCenter calls it
	Version     string
	Build       string
	Vendor      string
	Model       string
	CPUs        int
	MHz         int
	MemoryMB    int64
	Connected   bool
	Maintenance bool
	VCenter     string // address of the vCenter that manages it
	VMotion     bool   // a card of its kernel is for moving guests
	CPUModel    string // "Intel(R) Xeon(R) ..."
	FreeMB      int64  // memory that no guest takes
	PortGroups  []PortGroup
	Networks    []string // every network a card can be put on
	Switches    []Switch
	Uplinks     []string // physical cards: vmnic0
	Datastores  []Datastore
}

// A Datastore is one as its host has it mounted.
type Datastore struct {
	Name       string
	Type       string // VMFS, NFS, ...
	RemoteHost string // NFS
	RemotePath string
	CapacityKB int64
	FreeKB     int64
	Accessible bool
	ReadOnly   bool
}

// Datastore finds one by name.
func (h *Host) Datastore(name string) *Datastore {
	for i := range h.Datastores {
		if h.Datastores[i].Name == name {
			return &h.Datastores[i]
		}
	}
	return nil
}

// A Where says on which host, cluster or pool a guest is to be.
type Where struct {
	Host       string
	Cluster    string
	Datacenter string
	Path       []string // inventory path of a vpx:// address
}

// An Order is one change of power.
type Order struct {
	VM     VM
	Op     PowerOp
	Answer Policy
}

// A PowerOp is what is done to a guest's power.
type PowerOp string

// The operations.
const (
	OpOn       PowerOp = "on"
	OpOff      PowerOp = "off"
	OpReset    PowerOp = "reset"
	OpSuspend  PowerOp = "suspend"
	OpShutdown PowerOp = "softoff"
)

// A Progress is told how far a long task is, in per cent.
type Progress func(percent int)

// A Reader tells what there is.
type Reader interface {
	About() About
	// VMs returns guests, in inventory order.
	VMs(ctx context.Context, q Query) ([]VM, error)
	// Host returns one host; "" is the only one.
	Host(ctx context.Context, name string) (*Host, error)
	// Hosts returns the names of all.
	Hosts(ctx context.Context) ([]string, error)
}

// A Powerer turns guests on and off, many at a time; how many at once is its
// own to decide. done is called once an order, from one goroutine at a time.
type Powerer interface {
	Power(ctx context.Context, orders []Order, done func(i int, err error))
}

// A Making is one guest of many that are made together: of its Spec, or of
// the files that it left behind.
type Making struct {
	At   Where
	Name string
	Spec *Spec
	Old  Path // its .vmx; zero: it is made of Spec
}

// A Builder makes, changes and removes guests.
type Builder interface {
	// Make makes guests, many at a time; how many at once is its own to decide.
	// done is called once for each, from one goroutine at a time.
	Make(ctx context.Context, list []Making, done func(i int, v VM, err error))
	Create(ctx context.Context, at Where, s *Spec) (VM, error)
	Register(ctx context.Context, at Where, vmx Path, name string) (VM, error)
	// Reconfigure makes all of a change in one step, or none of it.
	Reconfigure(ctx context.Context, v VM, c *Change) error
	// Remove forgets a guest; purge deletes its files and all of its disks.
	Remove(ctx context.Context, v VM, purge bool) error
}

// A Networker makes networks on a host.
type Networker interface {
	AddSwitch(ctx context.Context, host string, s Switch) error
	AddPortGroup(ctx context.Context, host string, pg PortGroup) error
	RemovePortGroup(ctx context.Context, host, name string) error
}

// A Storer mounts datastores and handles files on them.
type Storer interface {
	// Mount mounts an NFS export and returns the name that it got.
	Mount(ctx context.Context, host string, l Location, label string) (string, error)
	MakeDir(ctx context.Context, host string, p Path) error
	CopyDisk(ctx context.Context, host string, from, to Path, f Format, progress Progress) error
	Delete(ctx context.Context, host string, p Path) error
}

// An Unmounter takes datastores off a host again.
type Unmounter interface {
	Unmount(ctx context.Context, host, name string) error
}

// A Hypervisor is an endpoint to which a connection stands.
type Hypervisor interface {
	Reader
	Powerer
	Builder
	Networker
	Storer
	io.Closer
}

// A Filer moves files to and from datastores. Paths with a file are those of
// files, a Path without one is the datastore's root.
type Filer interface {
	List(ctx context.Context, host string, dir Path) ([]File, error)
	// Stat finds one file or folder; what is not there is ErrNotFound.
	Stat(ctx context.Context, host string, p Path) (File, error)
	// Put writes a file whole, in the place of one that is there. Its folder
	// must be there; size is how much r gives, -1 if that is not known.
	Put(ctx context.Context, host string, p Path, r io.Reader, size int64) error
	// Get reads a file from an offset on; it returns how much is left from
	// there. The caller closes it.
	Get(ctx context.Context, host string, p Path, from int64) (io.ReadCloser, int64, error)
	// Move renames a file; one that is there already is replaced.
	Move(ctx context.Context, host string, from, to Path) error
}

// An Appender can go on with a file that is there in part. Shells can; the API
// takes files whole.
type Appender interface {
	Append(ctx context.Context, host string, p Path, r io.Reader) error
}

// A Summer computes a file's SHA-256, in hex, where the file is.
type Summer interface {
	SHA256(ctx context.Context, host string, p Path) (string, error)
}

// A File is one on a datastore.
type File struct {
	Path  Path
	Size  int64
	Dir   bool
	MTime time.Time
}

// A Cloner can copy whole guests; only vCenters can.
type Cloner interface {
	// Clone copies v to a new guest; linked shares v's disks as they are in its
	// snapshot.
	Clone(ctx context.Context, v VM, c CloneSpec, progress Progress) (VM, error)
	Snapshot(ctx context.Context, v VM, name string) error
	MarkTemplate(ctx context.Context, v VM) error
}

// A CloneSpec is what a clone is to be.
type CloneSpec struct {
	Name      string
	Where     Where
	Datastore string
	Linked    bool
	Customize *Customization // nil: the clone stays what its master is
}

// A Migrator can move guests; only vCenters can.
type Migrator interface {
	Migrate(ctx context.Context, v VM, host string, progress Progress) error
	Relocate(ctx context.Context, v VM, datastore string, progress Progress) error
}

// A HostAdmin can do things to hosts themselves.
type HostAdmin interface {
	Maintenance(ctx context.Context, host string, enter bool) error
	Shutdown(ctx context.Context, host string) error
	Rescan(ctx context.Context, host string) error
	FormatDisk(ctx context.Context, host, disk, name string) error
	// FreeDisk is the size of a disk that FormatDisk would format.
	FreeDisk(ctx context.Context, host, disk string) (kb int64, err error)
}

// A Joiner takes hosts in and out; only vCenters can.
type Joiner interface {
	Join(ctx context.Context, j Join) error
	Leave(ctx context.Context, host string) error
	// Reconnect connects a host again that it has and has lost, with what the
	// Join says of its account and certificate.
	Reconnect(ctx context.Context, host string, j Join) error
}

// A KernelNIC is a network card of a host's own kernel.
type KernelNIC struct {
	Device  string // vmk0
	Network string // port group
	VMotion bool   // guests move over it
	Local   bool   // it has a link-local address, which no other host reaches
}

// A VMotioner says over which cards of a host's kernel guests move.
type VMotioner interface {
	KernelNICs(ctx context.Context, host string) ([]KernelNIC, error)
	SelectVMotion(ctx context.Context, host, device string, on bool) error
}

// A Join is a host to take in.
type Join struct {
	Host        string // name or address
	Port        int
	User        string
	Password    string
	Fingerprint string // SHA-256 of the host's certificate; any other is refused
	Thumbprint  string // SHA-1 of it, which is what vCenter names
	Datacenter  string
	Cluster     string
}
