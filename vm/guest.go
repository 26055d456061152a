package vm

import (
	"strconv"
	"strings"

	"margay/nodedb"
)

// A Guest is what the table says of one guest, read and checked.
type Guest struct {
	Node     *nodedb.Node
	Name     string
	Host     string   // node that runs it; empty in cluster mode
	Cluster  string   // cluster mode: migrationdest is cluster@vcenter
	Endpoint Endpoint // whom to ask: its host, or the host's vCenter
	NetMap   NetMap   // of its host
	Folder   string   // vm.datacenter: whose folder it goes to in vCenter
	Path     []string // inventory path of a vpx:// manager
	key      string   // of Endpoint

	CPUs     int   // 0: not set
	MemoryMB int64 // 0: not set
	GuestID  string
	UUID     string // vpd.uuid, as the firmware reports it; may be empty
	Storage  []Location
	Config   *Location // where its .vmx is; nil: with its first disk
	Bus      Bus       // where its storage does not say
	Format   Format
	Networks []NetworkSpec
	NICModel string
	MACs     []nodedb.MAC
	Extra    []Setting
	Master   string
}

// Defaults of a guest, as in xCAT.
const (
	DefaultCPUs     = 1
	DefaultMemoryMB = 512
)

// NewGuest reads one guest from the table. What is missing is no error until
// something needs it; what cannot be read is.
func NewGuest(snap *nodedb.Snapshot, n *nodedb.Node) (*Guest, error) {
	return (&guestReader{snap: snap}).read(n)
}

// A guestReader reads the guests of one command. What many of them share, the
// way to their host, it reads once.
type guestReader struct {
	snap   *nodedb.Snapshot
	routes map[string]guestRoute // by host
}

// A guestRoute is whom to ask about the guests of one host.
type guestRoute struct {
	e      Endpoint
	key    string // of e
	netmap NetMap
	err    error
}

func (r *guestReader) read(n *nodedb.Node) (*Guest, error) {
	g := &Guest{Node: n, Name: n.Name, Host: n.VMHost, Folder: n.VMDatacenter, Master: n.VMMaster,
		MACs: n.MACs, NICModel: n.VMNICModel, UUID: n.Attr("vpd.uuid"), Bus: IDE, Format: Thin}
	if err := r.readRoute(g); err != nil {
		return nil, err
	}
	for _, step := range []func(*nodedb.Node) error{g.readSizes, g.readStorage, g.readNetwork} {
		if err := step(n); err != nil {
			return nil, err
		}
	}
	g.GuestID = n.VMGuestOS
	if g.GuestID == "" {
		g.GuestID = GuestID(n.OS, n.Arch)
	}
	var err error
	g.Extra, err = ParseSettings(n.VMOther)
	return g, err
}

// readRoute decides whom to ask: the host directly, unless it has a vCenter
// that is not to be passed by.
func (r *guestReader) readRoute(g *Guest) error {
	if g.Host == "" {
		err := g.readCluster(r.snap, g.Node)
		g.key = g.Endpoint.Key()
		return err
	}
	way, ok := r.routes[g.Host]
	if !ok {
		way = routeOf(r.snap, g.Host)
		if r.routes == nil {
			r.routes = map[string]guestRoute{}
		}
		r.routes[g.Host] = way
	}
	g.Endpoint, g.key, g.Path, g.NetMap = way.e, way.key, way.e.Path, way.netmap
	return way.err
}

func routeOf(snap *nodedb.Snapshot, host string) (r guestRoute) {
	if r.e, r.err = Route(snap, host); r.err != nil {
		return r
	}
	r.key = r.e.Key()
	var netmap, net string
	if h, err := snap.Node(host); err == nil {
		netmap, net = h.Attr("hypervisor.netmap"), h.Attr("hypervisor.defaultnet")
	}
	r.netmap, r.err = ParseNetMap(netmap, net)
	return r
}

func (g *Guest) readCluster(snap *nodedb.Snapshot, n *nodedb.Node) (err error) {
	cluster, vc, ok := strings.Cut(n.Attr("vm.migrationdest"), "@")
	if !ok || cluster == "" || vc == "" {
		return Errorf(ErrInvalid, "no host or cluster defined for guest; set vmhost")
	}
	g.Cluster = cluster
	g.NetMap, _ = ParseNetMap("", "")
	g.Endpoint, err = VCenterEndpoint(snap, vc)
	return err
}

// Route is whom to ask about a host: the host itself, or the vCenter that
// hypervisor.mgr names unless hypervisor.preferdirect is set.
func Route(snap *nodedb.Snapshot, host string) (Endpoint, error) {
	n, err := snap.Node(host)
	if err == nil && HasVCenter(n) && !truth(n.Attr("hypervisor.preferdirect")) {
		return VCenterEndpoint(snap, n.HostManager)
	}
	return HostEndpoint(snap, host)
}

// HasVCenter says whether a host's hostmanager is a vCenter.
func HasVCenter(n *nodedb.Node) bool {
	return n.HostManager != "" && !strings.HasPrefix(n.HostManager, string(ESX)+"://")
}

func truth(s string) bool {
	switch strings.ToLower(s) {
	case "", "0", "no", "n", "false", "off":
		return false
	}
	return true
}

func (g *Guest) readSizes(n *nodedb.Node) error {
	if n.VMMemory != "" {
		mb, err := ParseMemory(n.VMMemory)
		if err != nil {
			return Errorf(ErrInvalid, "vmmemory: %v", err)
		}
		g.MemoryMB = mb
	}
	if n.VMCPUs != "" {
		c, err := strconv.Atoi(n.VMCPUs)
		if err != nil || c < 1 {
			return Errorf(ErrInvalid, "vmcpus %q: not a number above 0", n.VMCPUs)
		}
		g.CPUs = c
	}
	return nil
}

func (g *Guest) readStorage(n *nodedb.Node) (err error) {
	if n.VMStorageModel != "" {
		if g.Bus, err = ParseBus(n.VMStorageModel); err != nil {
			return Errorf(ErrInvalid, "vmstoragemodel: %v", err)
		}
	}
	if f := n.Attr("vm.storageformat"); f != "" {
		if g.Format, err = ParseFormat(f); err != nil {
			return Errorf(ErrInvalid, "vmstorageformat: %v", err)
		}
	}
	if g.Storage, err = ParseLocations(n.VMStorage); err != nil {
		return err
	}
	if n.VMCfgStore != "" {
		l, err := ParseLocation(n.VMCfgStore)
		if err != nil {
			return Errorf(ErrInvalid, "vmcfgstore: %v", err)
		}
		g.Config = &l
	}
	return nil
}

func (g *Guest) readNetwork(n *nodedb.Node) (err error) {
	g.Networks, err = ParseNetworks(n.VMNICs)
	return err
}

// Home is where the guest's .vmx is.
func (g *Guest) Home() (Location, error) {
	if g.Config != nil {
		return *g.Config, nil
	}
	if len(g.Storage) == 0 {
		return Location{}, Errorf(ErrInvalid, "vmstorage is not set")
	}
	return g.Storage[0], nil
}

// Locations are all that the guest needs mounted: its home first.
func (g *Guest) Locations() ([]Location, error) {
	home, err := g.Home()
	if err != nil {
		return nil, err
	}
	return append([]Location{home}, g.Storage...), nil
}

// Model is the kind of the i-th network card; note is for the operator.
func (g *Guest) Model(i int) (m NICModel, note string) {
	if s := g.Networks[i].Model; s != "" {
		return ParseNICModel(s)
	}
	return ParseNICModel(g.NICModel)
}

// MAC is the address of the i-th network card, "" if the table has none.
func (g *Guest) MAC(i int) string {
	if i >= len(g.MACs) {
		return ""
	}
	return g.MACs[i].Addr.String()
}
