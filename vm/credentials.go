package vm

import (
	"strings"

	"margay/nodedb"
)

// KindTrust is where the fingerprints of endpoints are kept: ours alone, one
// record an endpoint, named by its address.
const KindTrust nodedb.Kind = "margay.trust"

// The columns of a trust record.
const (
	TrustCert = "margay.trust.certificate" // SHA-256 of the TLS certificate
	TrustSSH  = "margay.trust.ssh"         // SHA-256 of the SSH host key
)

// HostEndpoint is how a hypervisor itself is reached. name is a node, or an
// esx:// address; a node whose hostmanager is an esx:// address is reached as
// that says.
func HostEndpoint(snap *nodedb.Snapshot, name string) (Endpoint, error) {
	if IsURI(name) {
		return uriEndpoint(snap, name, ESX)
	}
	e := Endpoint{Kind: ESX, Name: name, Host: name}
	if n, err := snap.Node(name); err == nil {
		if strings.HasPrefix(n.HostManager, string(ESX)+"://") {
			if e, err = uriEndpoint(snap, n.HostManager, ESX); err != nil {
				return e, err
			}
			e.Name = name
			return e, nil
		}
		if n.Addr.IsValid() {
			e.Host = n.Addr.String()
		}
	}
	return withLimits(snap, withSecrets(snap, e))
}

// VCenterEndpoint is how a vCenter is reached: its name, its node, or a vpx://
// address.
func VCenterEndpoint(snap *nodedb.Snapshot, name string) (Endpoint, error) {
	if IsURI(name) {
		return uriEndpoint(snap, name, VPX)
	}
	e := Endpoint{Kind: VPX, Name: name, Host: name}
	if n, err := snap.Node(name); err == nil && n.Addr.IsValid() {
		e.Host = n.Addr.String()
	}
	return withLimits(snap, withSecrets(snap, e))
}

func uriEndpoint(snap *nodedb.Snapshot, uri string, want Kind) (Endpoint, error) {
	e, err := ParseURI(uri)
	if err != nil {
		return e, err
	}
	if e.Kind != want {
		return e, Errorf(ErrInvalid, "%s is a %s:// address where %s:// is wanted", e.Host, e.Kind, want)
	}
	e.Name = e.Host
	return withLimits(snap, withSecrets(snap, e))
}

// withSecrets fills in who logs in and what is trusted. Credentials are looked
// for under the endpoint's own key first ("vmware:esx1"), then under the one
// that all share, as in xCAT: key=vmware for hosts, key=vcenter for vCenters.
func withSecrets(snap *nodedb.Snapshot, e Endpoint) Endpoint {
	key, user := "vmware", "root"
	if e.Kind == VPX {
		key, user = "vcenter", "Administrator"
	}
	for _, k := range []string{key + ":" + e.Name, key + ":" + e.Host, key} {
		p, err := snap.Password(k, e.User)
		if err != nil {
			continue
		}
		if p.User != "" {
			user = p.User
		}
		e.Password = p.Secret
		break
	}
	if e.User == "" {
		e.User = user
	}
	if r, ok := snap.Record(nodedb.Key{Kind: KindTrust, Name: e.Addr()}); ok {
		e.Pin, e.SSHPin = r.Attrs[TrustCert], r.Attrs[TrustSSH]
	}
	return e
}
