package vm

import (
	"net/netip"
	"net/url"
	"strings"
)

// A Scheme is how a storage location is reached.
type Scheme string

// The schemes that ESXi can use.
const (
	NFS  Scheme = "nfs"
	VMFS Scheme = "vmfs"
)

// A Location is where a guest's disks are, as vm.storage has it:
// "nfs://server/path=model", "vmfs://datastore1".
type Location struct {
	Scheme Scheme
	Server string // NFS only
	Export string // NFS: path, with its leading slash
	Name   string // VMFS: the datastore
	Bus    Bus    // after "="; empty: the guest's own default

	label string // NFS: what its datastore is to be called; empty: as Label makes it
}

// String is the location as it is written, without its model.
func (l Location) String() string {
	if l.Scheme == VMFS {
		return "vmfs://" + l.Name
	}
	return "nfs://" + l.Server + l.Export
}

// ParseLocations reads a comma list of locations.
func ParseLocations(s string) ([]Location, error) {
	var out []Location
	for _, f := range strings.Split(s, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		l, err := ParseLocation(f)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// ParseLocation reads one location. A ":" after the server or the datastore
// and a "/" at the end are let pass, as xCAT does.
func ParseLocation(s string) (Location, error) {
	where, model, hasModel := cutModel(s)
	l := Location{}
	if hasModel {
		b, err := ParseBus(model)
		if err != nil {
			return l, err
		}
		l.Bus = b
	}
	scheme, rest, ok := strings.Cut(where, "://")
	if !ok {
		return l, badLocation(s)
	}
	scheme = strings.ToLower(scheme)
	rest = strings.TrimRight(rest, "/")
	switch l.Scheme = Scheme(scheme); l.Scheme {
	case NFS:
		server, path, _ := strings.Cut(rest, "/")
		l.Server = strings.TrimSuffix(server, ":")
		l.Export = "/" + strings.Trim(path, "/")
		if l.Server == "" || l.Export == "/" {
			return l, Errorf(ErrInvalid, "storage %q: write nfs://server/path", s)
		}
	case VMFS:
		l.Name = strings.TrimSuffix(strings.TrimLeft(rest, "/"), ":")
		if l.Name == "" || strings.Contains(l.Name, "/") {
			return l, Errorf(ErrInvalid, "storage %q: write vmfs://datastore", s)
		}
	case "phy", "dir", "iscsi": // xCAT's, for other hypervisors
		return l, badLocation(s)
	default:
		return l, Errorf(ErrInvalid, "%s is unsupported at this time (nfs would be)", scheme)
	}
	if u, err := url.PathUnescape(l.Name); err == nil && l.Scheme == VMFS {
		l.Name = u
	}
	return l, nil
}

// cutModel cuts "=model" off the end; a "=" inside a path stays.
func cutModel(s string) (where, model string, ok bool) {
	i := strings.LastIndexByte(s, '=')
	if i < 0 || strings.Contains(s[i:], "/") {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func badLocation(s string) error {
	return Errorf(ErrInvalid, "%s not supported storage specification for ESX plugin,\n\t'nfs://<server>/<path>'\n\t\tor\n\t'vmfs://<vmfs>'\n only currently supported vm.storage supported for ESX at the moment", s)
}

// maxLabel is the longest name that a datastore may have.
const maxLabel = 42

// Label is the name that a location's datastore is given when it is mounted:
// nfs_server_path, shortened in four steps until ESXi takes it.
func (l Location) Label() string {
	if l.Scheme == VMFS {
		return l.Name
	}
	if l.label != "" {
		return l.label
	}
	s := "nfs_" + strings.ReplaceAll(l.Server+l.Export, "/", "_")
	for _, shorter := range []func(string) string{
		func(s string) string { return strings.TrimPrefix(s, "nfs_") },
		func(s string) string { return strings.ReplaceAll(s, ".", "") },
		func(s string) string { return strings.ReplaceAll(s, "_", "") },
		func(s string) string { return s[:20] + ".." + s[len(s)-20:] },
	} {
		if len(s) <= maxLabel {
			break
		}
		s = shorter(s)
	}
	return s
}

// A DatastoreMap says for names of datastores which export each host has under
// them: the same name everywhere, perhaps another folder on each host.
type DatastoreMap map[string]string

// ParseDatastoreMap reads site.vmwaredatastores,
// "work=nfs://server/work/$host,masters=nfs://server/masters"; $host stands for
// the host's name.
func ParseDatastoreMap(s string) (DatastoreMap, error) {
	m := DatastoreMap{}
	for _, f := range strings.Split(s, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		name, to, ok := strings.Cut(f, "=")
		l, err := ParseLocation(to)
		if !ok || name == "" || len(name) > maxLabel || strings.ContainsAny(name, "/[]") || err != nil || l.Scheme != NFS {
			return nil, Errorf(ErrInvalid, "site.vmwaredatastores %q: write name=nfs://server/path, $host for the host's name", f)
		}
		m[name] = to
	}
	return m, nil
}

// On is what a location means on a host.
func (m DatastoreMap) On(host string, l Location) Location {
	to, ok := m[l.Name]
	if l.Scheme != VMFS || !ok {
		return l
	}
	short, _, _ := strings.Cut(host, ".")
	on, err := ParseLocation(strings.ReplaceAll(to, "$host", short))
	if err != nil {
		return l
	}
	on.Bus, on.label = l.Bus, l.Name
	return on
}

// A Resolver finds the addresses of a name.
type Resolver func(name string) ([]netip.Addr, error)

// Matches says whether d is the datastore that l means. An NFS server is
// compared by name and by every address that it resolves to.
func (l Location) Matches(d Datastore, resolve Resolver) bool {
	if l.Scheme == VMFS {
		return d.Name == l.Name && d.RemoteHost == ""
	}
	if d.RemoteHost == "" || strings.TrimRight(d.RemotePath, "/") != l.Export {
		return false
	}
	return sameServer(l.Server, d.RemoteHost, resolve)
}

func sameServer(a, b string, resolve Resolver) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	of := func(s string) []netip.Addr {
		if ip, err := netip.ParseAddr(s); err == nil {
			return []netip.Addr{ip.Unmap()}
		}
		if resolve == nil {
			return nil
		}
		ips, _ := resolve(s)
		return ips
	}
	as := of(a)
	for _, y := range of(b) {
		for _, x := range as {
			if x.Unmap() == y.Unmap() {
				return true
			}
		}
	}
	return false
}
