package main

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestMetrics: each service shows what it did, and a file that was sent or
// refused is counted once.
func TestMetrics(t *testing.T) {
	s := startServer(t, t.TempDir(), "--https", "127.0.0.1:0")
	base := "http://" + s.port("http").String()
	get := func(path string) string {
		t.Helper()
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	file := get("/tftpboot/xcat/xnba.kpxe")
	get("/boot/nosuch/script")
	text := ""
	eventually(t, "both answers are over for the server too", func() bool {
		text = get("/metrics")
		return strings.Contains(text, `margay_http_files_total{result="sent"} 1`) && strings.Contains(text, `margay_http_files_total{result="refused"} 1`)
	})
	for _, want := range []string{
		`margay_http_files_total{result="sent"} 1`,
		`margay_http_files_total{result="refused"} 1`,
		`margay_http_files_total{result="failed"} 0`,
		`margay_tftp_files_total{result="sent"} 0`,
		"margay_http_busy_total 0", "margay_http_closed_total 0", "margay_http_waiting 0", "margay_tftp_transfers 0", "margay_tftp_dropped_total 0",
		"margay_dhcp_received_total 0", `margay_dhcp_requests_total{result="ack"} 0`,
		`margay_dns_queries_total{result="answered"} 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
	for _, want := range []string{"margay_http_bytes_total", "margay_https_certificate_end_seconds", "process_resident_memory_bytes", "go_goroutines"} {
		if !strings.Contains(text, "\n"+want+" ") {
			t.Errorf("no %s", want)
		}
	}
	if n := s.metric("margay_http_bytes_total"); n != int64(len(file)) || n == 0 {
		t.Errorf("%d bytes, want %d", n, len(file))
	}
}

// metric is a value of /metrics without labels.
func (s *server) metric(name string) int64 {
	s.t.Helper()
	resp, err := http.Get("http://" + s.port("http").String() + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		s.t.Fatalf("no %s in /metrics", name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return int64(v)
}
