package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"strings"

	"margay/netboot/rom"
	"margay/vm/vmtest"
)

// adopt takes the installed host on as one that runs guests. The host's own
// API is played from here on.
func (st *stage) adopt(ctx context.Context) error {
	st.chapter("the host, up now, is taken on (its API and shell are played)")
	world, err := vmtest.Start(vmtest.Options{Password: "Demo-only-1", Licence: "vSphere 8 Hypervisor"})
	if err != nil {
		return err
	}
	st.closers = append(st.closers, world.Close)
	log.SetOutput(io.Discard) // the played host speaks of its own errands
	shell, err := world.StartSSH("")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(shell.Addr)
	if err != nil {
		return err
	}
	return st.runAll(ctx,
		[]string{"chdef", "esxihost", "hostmanager=" + world.URI() + "?ssh_port=" + port},
		[]string{"mkhypervisor", "esxihost"},
		[]string{"lshypervisor", "esxihost"},
	)
}

// guest makes a guest and has it install its own system from us: an ESXi in a
// guest, as labs have it.
func (st *stage) guest(ctx context.Context) error {
	st.chapter("a guest on it, which installs itself from here")
	if err := st.runAll(ctx,
		[]string{"mkdef", "vm1", "groups=vmware,vm,all", "mgt=esx", "vmhost=esxihost", "arch=x86_64", "os=esxi8.0.2", "profile=base",
			"vmstorage=vmfs://datastore1", "vmnics=vlan77", "vmmemory=8G", "vmcpus=2", "ip=" + st.addr(guestIP)},
		[]string{"mkvm", "vm1", "--dry-run", "-s", "40G"},
		[]string{"mkvm", "vm1", "-s", "40G"},
		[]string{"rinv", "vm1"},
		[]string{"makedhcp", "-q", "vm1"},
		[]string{"nodeset", "vm1", "osimage=esxi8.0.2-x86_64-install-base"},
		[]string{"rsetboot", "vm1", "net,hd"},
		[]string{"rpower", "vm1", "on"},
	); err != nil {
		return err
	}
	out, err := st.type_(ctx, false, "lsdef", "vm1", "-c", "-i", "mac")
	if err != nil {
		return err
	}
	_, mac, ok := strings.Cut(strings.TrimSpace(out), "mac=")
	if !ok {
		return fmt.Errorf("the guest has no MAC: %s", out)
	}
	return st.boots(ctx, "vm1", mac, st.addr(guestIP), rom.BIOS)
}

// clones copies the guest and takes it all away again.
func (st *stage) clones(ctx context.Context) error {
	st.chapter("a master, guests of it, and the end of them")
	return st.runAll(ctx,
		[]string{"rpower", "vm1", "off"},
		[]string{"chvm", "vm1", "-a", "2", "--mem", "+1G"},
		[]string{"clonevm", "vm1", "-t", "vmm"},
		[]string{"mkdef", "vm2,vm3", "groups=vmware,vm,all", "vmhost=esxihost", "mgt=esx"},
		[]string{"clonevm", "-b", "vmm", "vm2,vm3"},
		[]string{"lsvm", "-l", "esxihost"},
		[]string{"rmvm", "vm2,vm3", "-p"},
		[]string{"rmvm", "vm1", "-p"},
		[]string{"lsvm", "esxihost"},
	)
}

// moves puts the host and a second one behind a vCenter, which is played, and
// moves a guest that runs.
func (st *stage) moves(ctx context.Context) error {
	st.chapter("a vCenter, and a guest that moves while it runs")
	world, err := vmtest.Start(vmtest.Options{VCenter: true, User: "Administrator", Password: "Demo-only-1", Version: "8.0.2",
		Hosts: []string{"esxihost", "esxihost2"}, Datastores: []string{"datastore1", "fast"}})
	if err != nil {
		return err
	}
	st.closers = append(st.closers, world.Close)
	return st.runAll(ctx,
		[]string{"chtab", "key=vcenter", "passwd.username=Administrator", "passwd.password=Demo-only-1"},
		[]string{"mkdef", "esxihost2", "groups=esxi,all", "os=esxi8.0.2"},
		[]string{"chdef", "esxihost,esxihost2", "hostmanager=" + world.URI()},
		[]string{"mkdef", "vm4", "groups=vmware,vm,all", "mgt=esx", "vmhost=esxihost", "arch=x86_64", "os=rhels9.4", "vmstorage=vmfs://datastore1", "vmnics=vlan77"},
		[]string{"mkvm", "vm4", "-s", "8G"},
		[]string{"rpower", "vm4", "on"},
		[]string{"rmigrate", "vm4", "esxihost2", "--dry-run"},
		[]string{"rmigrate", "vm4", "esxihost2"},
		[]string{"rmigrate", "vm4", "-s", "vmfs://fast"},
		[]string{"lsvm", "-l", "esxihost2"},
		[]string{"rscan", "esxihost2"},
		[]string{"rmvm", "vm4", "-f", "-p"},
	)
}
