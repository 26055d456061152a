package main

import (
	"strings"
	"sync"
	"sync/atomic"

	"margay/netboot"
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

	byTFTP, byHTTP fileCounts
}

// fileCounts are what became of files that were asked for.
type fileCounts struct{ sent, failed, refused, bytes atomic.Uint64 }

// counted is an observer that counts what it passes on.
func (s *servers) counted(next netboot.Observer) netboot.Observer {
	return observerFunc(func(e netboot.Event) {
		c := &s.byHTTP
		if e.Proto == "tftp" {
			c = &s.byTFTP
		}
		switch {
		case e.Step == netboot.StepRefused:
			c.refused.Add(1)
		case e.Step == netboot.StepFile && e.Done:
			c.bytes.Add(uint64(max(e.Bytes, 0)))
			if e.Err != nil {
				c.failed.Add(1)
			} else {
				c.sent.Add(1)
			}
		}
		next.Observe(e)
	})
}

type observerFunc func(netboot.Event)

func (f observerFunc) Observe(e netboot.Event) { f(e) }

// sampleFiles shows what became of files, and that the certificate of HTTPS is
// not about to end.
func (d *daemon) sampleFiles(count counting) {
	for proto, c := range map[string]*fileCounts{"tftp": &d.servers.byTFTP, "http": &d.servers.byHTTP} {
		count(proto+"_bytes_total", "Bytes of files sent by "+strings.ToUpper(proto)+".", "", "", c.bytes.Load())
		help := "Files asked for by " + strings.ToUpper(proto) + ", by what became of them."
		for result, n := range map[string]*atomic.Uint64{"sent": &c.sent, "failed": &c.failed, "refused": &c.refused} {
			count(proto+"_files_total", help, "result", result, n.Load())
		}
	}
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
		gauge("http_sending", "Large files that have their turn.", l.Sending)
		gauge("http_waiting", "Large files that wait for their turn.", l.Waiting)
		count("http_busy_total", "Machines that were told to ask again later.", "", "", l.Busy)
		count("http_closed_total", "Connections that were closed because too many were open.", "", "", l.Closed)
	}
	if s := d.servers.dns; s != nil {
		sampleDNS(s.Counts(), count)
	}
	count("alarms_total", "Requests for a node's secrets or in a node's name that were refused.", "", "", d.service.Alarms())
	d.sampleFiles(count)
	if d.certs != nil {
		gauge("https_certificate_end_seconds", "When the certificate of HTTPS ends, in Unix time.", int(d.certs.Status().Until.Unix()))
	}
	snap := d.db.Snapshot()
	gauge("table_revision", "Revision of the node table.", int(snap.Rev()))
	for state, n := range provision.Census(snap) {
		gauge("nodes", "Nodes by what they boot and how they stand.", n, "mode", state.Mode, "status", state.Status)
	}
	gauge("dhcp_foreign_servers", "Other DHCP servers that were met within the last hour.", len(d.service.Strangers()))
	gauge("heap_live_bytes", "Memory that the last collection found in use.", int(liveHeap()))
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
		sum.Dropped += c.Dropped
		sum.Refused += c.Refused
		sum.Failed += c.Failed
		sum.Offers += c.Offers
		sum.Acks += c.Acks
		sum.Naks += c.Naks
	}
	count("dhcp_received_total", "DHCP datagrams received.", "", "", sum.Received)
	const answers = "DHCP requests by what became of them."
	for result, n := range map[string]uint64{"malformed": sum.Malformed, "ignored": sum.Ignored, "dropped": sum.Dropped, "refused": sum.Refused, "failed": sum.Failed,
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
