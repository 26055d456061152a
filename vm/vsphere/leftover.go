package vsphere

import (
	"context"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// A shelf is a datastore as a host has it.
type shelf struct {
	host      types.ManagedObjectReference
	datastore string
}

// fewOld is how many guests are tried by registering them: a search takes as
// many calls, and only many failed tasks clutter a host's list.
const fewOld = 3

// browse remembers who lists a datastore whose folders are called what guests
// are; on others, vSAN's among them, they have names of their own.
func (c *Conn) browse(host types.ManagedObjectReference, d *mo.Datastore) {
	c.browserMu.Lock()
	defer c.browserMu.Unlock()
	key := shelf{host, d.Name}
	if !strings.HasPrefix(d.Summary.Type, "VMFS") && !strings.HasPrefix(d.Summary.Type, "NFS") {
		delete(c.browsers, key)
		return
	}
	if c.browsers == nil {
		c.browsers = map[shelf]types.ManagedObjectReference{}
	}
	c.browsers[key] = d.Browser
}

// leftovers looks for the folders of guests whose old files are to be taken,
// all of a datastore in one search, and says which guests have none. What
// cannot be searched is left to be tried.
func (c *Conn) leftovers(ctx context.Context, list []vm.Making) map[int]bool {
	type group struct {
		at      []int
		folders []string
	}
	groups := map[shelf]*group{}
	for i, m := range list {
		folder := m.Old.Dir().File
		if m.Old.IsZero() || m.At.Cluster != "" || folder == "" || strings.ContainsAny(folder, "/*?[]\\") {
			continue
		}
		where, _, err := c.spot(ctx, m.At)
		if err != nil || where.host == nil {
			continue
		}
		key := shelf{*where.host, m.Old.Datastore}
		g := groups[key]
		if g == nil {
			g = &group{}
			groups[key] = g
		}
		g.at, g.folders = append(g.at, i), append(g.folders, folder)
	}
	gone := map[int]bool{}
	var jobs []*job
	for key, g := range groups {
		c.browserMu.Lock()
		browser, ok := c.browsers[key]
		c.browserMu.Unlock()
		if !ok || len(g.at) <= fewOld {
			continue
		}
		req := types.SearchDatastore_Task{This: browser, DatastorePath: vm.Path{Datastore: key.datastore}.String(),
			SearchSpec: &types.HostDatastoreBrowserSearchSpec{MatchPattern: g.folders}}
		jobs = append(jobs, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
			res, err := methods.SearchDatastore_Task(ctx, c.vc, &req)
			if err != nil {
				return types.ManagedObjectReference{}, err
			}
			return res.Returnval, nil
		}, done: func(result types.AnyType, err error) {
			found, ok := result.(types.HostDatastoreBrowserSearchResults)
			if err != nil || !ok {
				return
			}
			there := map[string]bool{}
			for _, f := range found.File {
				there[strings.ToLower(f.GetFileInfo().Path)] = true
			}
			for k, i := range g.at {
				if !there[strings.ToLower(g.folders[k])] {
					gone[i] = true
				}
			}
		}})
	}
	c.work(ctx, c.tasks(), jobs)
	return gone
}
