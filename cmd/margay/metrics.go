package main

import (
	"sync"

	"margay/netboot/dhcp"
	"margay/netboot/dns"
	"margay/netboot/httpd"
	"margay/netboot/tftp"
	"margay/provision"
	"margay/provision/api"
)

// servers are the four services, for their counts.
type servers struct {
	mu   sync.Mutex
	dhcp []*dhcp.Server // guarded by mu: links are served after HTTP is
	tftp *tftp.Server
	http *httpd.Server
	dns  *dns.Server
}

// samples are what /metrics shows of the daemon.
func (d *daemon) samples() []api.Sample {
	var out []api.Sample
	count := func(name, help, label, value string, n uint64) {
		s := api.Sample{Name: "margay_" + name, Help: help, Value: float64(n), Counter: true}
		if label != "" {
			s.Labels = []string{label, value}
		}
		out = append(out, s)
	}
	gauge := func(name, help string, n int, labels ...string) {
		out = append(out, api.Sample{Name: "margay_" + name, Help: help, Value: float64(n), Labels: labels})
	}
	d.sampleDHCP(count)
	if s := d.servers.tftp; s != nil {
		l := s.Load()
		gauge("tftp_transfers", "TFTP transfers under way.", l.Transfers)
		count("tftp_dropped_total", "TFTP requests that were not answered because of a limit.", "", "", l.Dropped)
	}
	if s := d.servers.http; s != nil {
		l := s.Load()
		gauge("http_connections", "Open HTTP connections.", l.Conns)
		gauge("http_waiting", "Large files that wait for their turn.", l.Waiting)
	}
	if s := d.servers.dns; s != nil {
		sampleDNS(s.Counts(), count)
	}
	count("alarms_total", "Requests for a node's secrets or in a node's name that were refused.", "", "", d.service.Alarms())
	snap := d.db.Snapshot()
	gauge("table_revision", "Revision of the node table.", int(snap.Rev()))
	for state, n := range provision.Census(snap) {
		gauge("nodes", "Nodes by what they boot and how they stand.", n, "mode", state.Mode, "status", state.Status)
	}
	gauge("leases", "Leases of dynamic ranges, past ones too.", len(provision.Leases(snap)))
	return out
}

type counting func(name, help, label, value string, n uint64)

// sampleDHCP adds the links together.
func (d *daemon) sampleDHCP(count counting) {
	var sum dhcp.Counts
	d.servers.mu.Lock()
	defer d.servers.mu.Unlock()
	for _, s := range d.servers.dhcp {
		c := s.Counts()
		sum.Received += c.Received
		sum.Malformed += c.Malformed
		sum.Ignored += c.Ignored
		sum.Refused += c.Refused
		sum.Failed += c.Failed
		sum.Offers += c.Offers
		sum.Acks += c.Acks
		sum.Naks += c.Naks
	}
	count("dhcp_received_total", "DHCP datagrams received.", "", "", sum.Received)
	const answers = "DHCP requests by what became of them."
	for result, n := range map[string]uint64{"malformed": sum.Malformed, "ignored": sum.Ignored, "refused": sum.Refused, "failed": sum.Failed,
		"offer": sum.Offers, "ack": sum.Acks, "nak": sum.Naks} {
		count("dhcp_requests_total", answers, "result", result, n)
	}
}

func sampleDNS(c dns.Counts, count counting) {
	const help = "DNS messages by what became of them."
	for result, n := range map[string]uint64{"malformed": c.Malformed, "answered": c.Answers, "refused": c.Refused, "forwarded": c.Forwarded,
		"failed": c.Failed, "dropped": c.Dropped, "transfer": c.Transfers} {
		count("dns_queries_total", help, "result", result, n)
	}
	count("dns_cache_hits_total", "Forwarded questions that were answered from memory.", "", "", c.Hits)
}
