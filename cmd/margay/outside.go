package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"margay/netboot/dns"
	"margay/nodedb"
	"margay/provision"
)

// outside has DNS servers of others answer for names, or forget them: the one
// named, or those of /etc/resolv.conf that are not ours.
func (d *daemon) outside(ctx context.Context, server string, names []provision.Name, forget bool) (told []string, err error) {
	snap := d.db.Snapshot()
	list := server
	if list == "" {
		list = strings.Join(resolvers("/etc/resolv.conf"), ",")
	}
	servers, err := provision.ParseServers(list, 53)
	if err != nil {
		return nil, fmt.Errorf("DNS server %v", err)
	}
	key, name, err := outsideKey(snap)
	if err != nil {
		return nil, err
	}
	entries := make([]dns.Entry, 0, len(names))
	for _, n := range names {
		entries = append(entries, dns.Entry{Name: n.Name, Addr: n.Addr, Alias: n.Alias})
	}
	var errs []error
	for _, at := range servers {
		if d.dnsConn != nil && at.Port() == d.dnsConn.Addr().Port() && isOurs(at.Addr()) {
			continue
		}
		x := dns.External{Addr: at, Name: name, Key: key}
		do := x.Put
		if forget {
			do = x.Remove
		}
		told = append(told, at.String())
		errs = append(errs, do(ctx, entries))
	}
	if len(told) == 0 {
		return nil, errors.New("no DNS server but our own is in /etc/resolv.conf; name one with --server")
	}
	return told, errors.Join(errs...)
}

// outsideKey is the key that signs what is sent to DNS servers of others, the
// one that xCAT has for that: of passwd key=omapi, if there is such a row.
func outsideKey(snap *nodedb.Snapshot) (key dns.Key, name string, err error) {
	for _, r := range snap.Records(nodedb.KindPasswd) {
		table, user, _ := strings.Cut(r.Name, nodedb.KeySep)
		if table != "omapi" || user == "" || r.Attrs["passwd.password"] == "" {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(r.Attrs["passwd.password"])
		if err != nil {
			return key, "", fmt.Errorf("passwd key=omapi: the password of %s is no key in base64", user)
		}
		return dns.Key{Algorithm: r.Attrs["passwd.cryptmethod"], Secret: secret}, user, nil
	}
	return key, "", nil
}
