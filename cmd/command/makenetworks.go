package command

import (
	"context"
	"os"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var makenetworksCmd = &Command{
	Name:  "makenetworks",
	Usage: "[-d] [-V]",
	Short: "define the networks of the server's own interfaces",
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("display", "d", false, "show them, define nothing")
		f.BoolP("verbose", "V", false, "name each network that is defined")
	},
	Run: makenetworks,
}

func makenetworks(ctx context.Context, s *Session, _ []string) error {
	served, err := provision.Interfaces()
	if err != nil {
		return err
	}
	defs := provision.NetworkDefs(served)
	if s.Bool("display") {
		showNetworks(s, defs)
		return nil
	}
	var made []string
	err = s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		made = nil
		for _, d := range defs {
			if _, ok := tx.Get(d.Key); ok {
				s.Warn("The network entry '%s' already exists in xCAT networks table. Cannot create a definition for '%s'", d.Name, d.Name)
				continue
			}
			tx.Put(d.Key, d.Attrs)
			made = append(made, d.Name)
		}
		return nil
	})
	if err == nil && s.Bool("verbose") {
		for _, name := range made {
			s.Line("%s", name)
		}
	}
	return err
}

// showNetworks prints them as stanzas that mkdef -z takes.
func showNetworks(s *Session, defs []provision.NetworkDef) {
	snap := s.DB.Snapshot()
	host, _ := os.Hostname()
	for _, d := range defs {
		s.Line("")
		s.Line("#From %s.", host)
		s.Line("%s:", d.Name)
		s.Line("    objtype=network")
		s.Line("    net=%s", d.Net)
		s.Line("    mask=%s", d.Mask)
		for _, col := range []string{"gateway", "mgtifname", "mtu", "tftpserver"} {
			v := d.Attrs["networks."+col]
			if col == "tftpserver" && v == nodedb.Master {
				v = d.Own.String()
			}
			if v != "" {
				s.Line("    %s=%s", col, v)
			}
		}
		if _, ok := snap.Record(d.Key); ok {
			s.Line("# Note: An equivalent xCAT network definition already exists.")
		}
	}
}
