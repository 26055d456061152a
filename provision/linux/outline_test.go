package linux

import (
	"strings"
	"testing"
	"testing/fstest"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func TestOutline(t *testing.T) {
	install := fstest.MapFS{"postscripts/setup": {Data: []byte("#!/bin/sh\n")}}
	image := fstest.MapFS{}
	for _, name := range []string{imageKernel, imageInitrd, imageRoot} {
		image[imageDir("debian12", "x86_64", "compute")+"/"+name] = &fstest.MapFile{Data: []byte("x")}
	}
	for _, tt := range []struct {
		s    setup
		want string
	}{
		{setup{os: "rhels9.4", install: install, attrs: []string{"nics.nicips=eth1!10.2.0.11", "postscripts.postscripts=setup 1"},
			records: []nodedb.Record{nodedbtest.Site("managedaddressmode", "static")}},
			"installs rhels9.4 from http://10.1.0.1/install/rhels9.4/x86_64, as built-in linux/kickstart.tmpl has it\n" +
				"disk: the first that is fixed, and all of it\npackages: @core openssh-server tar gzip\n" +
				"name vm1.cluster.example, address 10.1.0.11/16, eth1 10.2.0.11/24\npostscripts: 'setup' '1'"},
		{setup{os: "debian12", mode: nodedb.ModeNetboot, install: image}, "debian12 in memory, no disk is touched\nname vm1.cluster.example, address by DHCP"},
	} {
		got, err := family().Outline(tt.s.boot(t))
		if err != nil || strings.Join(got, "\n") != tt.want {
			t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), tt.want)
		}
	}
}
