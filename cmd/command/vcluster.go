package command

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/vm"
)

func vcenterFlags(f *pflag.FlagSet) {
	f.String("vcenter", "", "the vCenter: a name, a node, or a vpx:// address")
	f.String("username", "", "who logs in; default: passwd key=vcenter")
	f.String("password", "", "and the password; better in the table, as others see what is typed")
	f.String("datacenter", "", "datacenter of the cluster")
}

var createvclusterCmd = &Command{
	Name:  "createvcluster",
	Usage: "cluster --vcenter vc [--username user] [--password password] [--datacenter dc]",
	Short: "make a cluster on a vCenter",
	Group: GroupGuest,
	Flags: vcenterFlags,
	Run: func(ctx context.Context, s *Session, args []string) error {
		return s.onCluster(ctx, args, func(ctx context.Context, c vm.Clusterer, name string) error {
			return c.AddCluster(ctx, s.String("datacenter"), name)
		})
	},
}

var rmvclusterCmd = &Command{
	Name:  "rmvcluster",
	Usage: "cluster --vcenter vc [--username user] [--password password] [--datacenter dc]",
	Short: "remove a cluster without hosts from a vCenter",
	Group: GroupGuest,
	Flags: vcenterFlags,
	Run: func(ctx context.Context, s *Session, args []string) error {
		return s.onCluster(ctx, args, func(ctx context.Context, c vm.Clusterer, name string) error {
			return c.RemoveCluster(ctx, s.String("datacenter"), name)
		})
	},
}

var lsvclusterCmd = &Command{
	Name:  "lsvcluster",
	Usage: "[cluster] --vcenter vc [--username user] [--password password] [--datacenter dc]",
	Short: "list a vCenter's clusters and their hosts",
	Group: GroupGuest,
	Flags: vcenterFlags,
	Run:   lsvcluster,
}

func (s *Session) onCluster(ctx context.Context, args []string, do func(context.Context, vm.Clusterer, string) error) error {
	if len(args) != 1 {
		return Usagef("one cluster is wanted")
	}
	return s.onVCenter(ctx, func(ctx context.Context, c vm.Clusterer) error { return do(ctx, c, args[0]) })
}

func (s *Session) onVCenter(ctx context.Context, do func(context.Context, vm.Clusterer) error) error {
	if s.Guests == nil {
		return errors.New("this daemon manages no guests")
	}
	if s.String("vcenter") == "" {
		return Usagef("--vcenter is wanted")
	}
	return s.Guests.OnVCenter(ctx, s.DB.Snapshot(), s.String("vcenter"), s.String("username"), s.String("password"), do)
}

func lsvcluster(ctx context.Context, s *Session, args []string) error {
	if len(args) > 1 {
		return Usagef("one cluster at most")
	}
	var list []vm.Cluster
	err := s.onVCenter(ctx, func(ctx context.Context, c vm.Clusterer) (err error) {
		list, err = c.Clusters(ctx)
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b vm.Cluster) int { return strings.Compare(a.Name, b.Name) })
	shown := 0
	for _, c := range list {
		if len(args) == 1 && c.Name != args[0] || s.String("datacenter") != "" && c.Datacenter != s.String("datacenter") {
			continue
		}
		shown++
		s.Line("%s", c.Name)
		s.Line("    datacenter=%s", c.Datacenter)
		s.Line("    hosts=%s", strings.Join(c.Hosts, ","))
	}
	if shown == 0 && len(args) == 1 {
		return errors.New(args[0] + " is not a known cluster to the vCenter server.")
	}
	return nil
}
