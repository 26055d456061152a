package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// List lists a folder of a datastore, through the datastore's own browser.
func (c *Conn) List(ctx context.Context, host string, dir vm.Path) ([]vm.File, error) {
	return c.search(ctx, host, dir, "*")
}

// Stat finds one file or folder.
func (c *Conn) Stat(ctx context.Context, host string, p vm.Path) (vm.File, error) {
	if p.File == "" {
		_, err := c.search(ctx, host, p, "none")
		return vm.File{Path: p, Dir: true}, err
	}
	list, err := c.search(ctx, host, p.Dir(), p.Base())
	if err != nil {
		return vm.File{}, err
	}
	for _, f := range list {
		if f.Path == p {
			return f, nil
		}
	}
	return vm.File{}, vm.Errorf(vm.ErrNotFound, "File %s was not found", p)
}

// search lists what fits a pattern.
func (c *Conn) search(ctx context.Context, host string, dir vm.Path, pattern string) ([]vm.File, error) {
	browser, err := c.browser(ctx, host, dir.Datastore)
	if err != nil {
		return nil, err
	}
	req := types.SearchDatastore_Task{This: browser, DatastorePath: dir.String(), SearchSpec: &types.HostDatastoreBrowserSearchSpec{
		MatchPattern: []string{pattern},
		Details:      &types.FileQueryFlags{FileType: true, FileSize: true, Modification: true},
	}}
	result, err := c.do(ctx, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.SearchDatastore_Task(ctx, c.vc, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	if err != nil {
		return nil, err
	}
	found, ok := result.(types.HostDatastoreBrowserSearchResults)
	if !ok {
		return nil, vm.Errorf(vm.ErrInvalid, "the host does not say what is in %s", dir)
	}
	var out []vm.File
	for _, b := range found.File {
		out = append(out, fileOf(dir, b))
	}
	return out, nil
}

func fileOf(dir vm.Path, b types.BaseFileInfo) vm.File {
	i := b.GetFileInfo()
	f := vm.File{Path: dir.Join(i.Path), Size: i.FileSize}
	if i.Modification != nil {
		f.MTime = *i.Modification
	}
	if _, ok := b.(*types.FolderFileInfo); ok {
		f.Dir, f.Size = true, 0
	}
	return f
}

// browser is what lists a datastore of a host.
func (c *Conn) browser(ctx context.Context, host, name string) (types.ManagedObjectReference, error) {
	none := types.ManagedObjectReference{}
	dc, err := c.datacenterOf(ctx, host)
	if err != nil {
		return none, err
	}
	ref, err := c.datastoreRef(ctx, name, dc)
	if err != nil {
		return none, err
	}
	var ds mo.Datastore
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, ref, []string{"browser"}, &ds); err != nil {
		return none, wrap(err)
	}
	return ds.Browser, nil
}

// folderURL is where a file of a datastore is reached, with the session's own
// cookie ("vSphere Web Services SDK Programming Guide", HTTP access to
// datastores).
func (c *Conn) folderURL(ctx context.Context, host string, p vm.Path) (*url.URL, error) {
	if p.File == "" || strings.Contains("/"+p.File+"/", "/../") {
		return nil, vm.Errorf(vm.ErrInvalid, "%s is no file", p)
	}
	dc, err := c.datacenterPath(ctx, host)
	if err != nil {
		return nil, err
	}
	u := *c.soap.URL()
	u.User, u.Path = nil, "/folder/"+p.File
	u.RawQuery = url.Values{"dcPath": {dc}, "dsName": {p.Datastore}}.Encode()
	return &u, nil
}

// datacenterPath is a datacenter's inventory path: its folders and its name.
func (c *Conn) datacenterPath(ctx context.Context, host string) (string, error) {
	dc, err := c.datacenterOf(ctx, host)
	if err != nil {
		return "", err
	}
	t, err := c.tree(ctx)
	if err != nil {
		return "", err
	}
	name := ""
	for p := t.nodes[dc]; p != nil && p.ref != t.root; p = t.nodes[p.parent] {
		name = path.Join(p.name, name)
	}
	return name, nil
}

// transfer sends one request about a file. A session that has ended is
// logged in to again and the request sent once more, if its body can be.
func (c *Conn) transfer(ctx context.Context, method string, host string, p vm.Path, body io.Reader, size int64, header http.Header) (*http.Response, error) {
	u, err := c.folderURL(ctx, host, p)
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		seen := c.loginCount()
		req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
		if err != nil {
			return nil, err
		}
		for k, v := range header {
			req.Header[k] = v
		}
		out := &lent{r: body}
		if body != nil {
			req.Body, req.ContentLength = out, size
			// The body goes out when the host has said that it takes it: a
			// session that has ended shows before anything is read.
			req.Header.Set("Expect", "100-continue")
		}
		req.Header.Set("User-Agent", c.soap.UserAgent)
		res, err := c.soap.Client.Do(req)
		out.Close()
		if err != nil {
			return nil, broken(p, err)
		}
		if res.StatusCode != http.StatusUnauthorized || attempt > 0 {
			return res, nil
		}
		res.Body.Close()
		if err := c.login(ctx, seen); err != nil {
			return nil, err
		}
		if s, ok := body.(io.Seeker); ok {
			if _, err := s.Seek(0, io.SeekStart); err != nil {
				return nil, err
			}
		}
	}
}

// broken is a request that got no answer.
func broken(p vm.Path, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("%s: %w", p, err)
}

// Put writes a file.
func (c *Conn) Put(ctx context.Context, host string, p vm.Path, r io.Reader, size int64) error {
	res, err := c.transfer(ctx, http.MethodPut, host, p, r, size, http.Header{"Content-Type": {"application/octet-stream"}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	return c.answered(p, res)
}

// Get reads a file.
func (c *Conn) Get(ctx context.Context, host string, p vm.Path, from int64) (io.ReadCloser, int64, error) {
	header := http.Header{}
	if from > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	res, err := c.transfer(ctx, http.MethodGet, host, p, nil, 0, header)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case from > 0 && res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		res.Body.Close()
		return io.NopCloser(strings.NewReader("")), 0, nil // all of it is there
	case from > 0 && res.StatusCode == http.StatusOK: // it knows no ranges
		if _, err := io.CopyN(io.Discard, res.Body, from); err != nil {
			res.Body.Close()
			return nil, 0, broken(p, err)
		}
		return res.Body, res.ContentLength - from, nil
	}
	if err := c.answered(p, res); err != nil {
		res.Body.Close()
		return nil, 0, err
	}
	return res.Body, res.ContentLength, nil
}

// answered turns a status into an error of vm's classes.
func (c *Conn) answered(p vm.Path, res *http.Response) error {
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusPartialContent:
		return nil
	case http.StatusNotFound:
		return vm.Errorf(vm.ErrNotFound, "File %s was not found", p)
	case http.StatusForbidden:
		if c.about.Kind == vm.ESX && res.Request.Method == http.MethodPut {
			return vm.Errorf(vm.ErrRestricted, "%s: %s", p, res.Status)
		}
	case http.StatusInsufficientStorage:
		return vm.Errorf(vm.ErrNoSpace, "%s: %s", p, res.Status)
	}
	return fmt.Errorf("%s: the host answers %s", p, res.Status)
}

// Move renames a file.
func (c *Conn) Move(ctx context.Context, host string, from, to vm.Path) error {
	dc, err := c.datacenterOf(ctx, host)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, &job{policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.MoveDatastoreFile_Task(ctx, c.vc, &types.MoveDatastoreFile_Task{This: *c.vc.ServiceContent.FileManager,
			SourceName: from.String(), SourceDatacenter: &dc, DestinationName: to.String(), DestinationDatacenter: &dc, Force: types.NewBool(true)})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	return err
}
