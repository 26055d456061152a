package vm

import (
	"context"

	"margay/nodedb"
)

// A Cluster is one of a vCenter.
type Cluster struct {
	Name       string
	Datacenter string
	Hosts      []string
}

// A Clusterer makes and removes clusters; only vCenters can.
type Clusterer interface {
	Clusters(ctx context.Context) ([]Cluster, error)
	// AddCluster makes a cluster in a datacenter; "" is the only one, and one is
	// made where there is none.
	AddCluster(ctx context.Context, datacenter, name string) error
	// RemoveCluster removes a cluster without hosts.
	RemoveCluster(ctx context.Context, datacenter, name string) error
}

// OnVCenter does something with a vCenter's clusters. user and password are
// those of the table where they are empty.
func (m *Manager) OnVCenter(ctx context.Context, snap *nodedb.Snapshot, name, user, password string, do func(context.Context, Clusterer) error) error {
	e, err := VCenterEndpoint(snap, name)
	if err != nil {
		return err
	}
	if user != "" {
		e.User = user
	}
	if password != "" {
		e.Password = password
	}
	hv, err := m.Open(ctx, e)
	if err != nil {
		return err
	}
	c, ok := as[Clusterer](hv)
	if !ok {
		return Errorf(ErrUnsupported, "%s is no vCenter", e)
	}
	return do(ctx, c)
}
