package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Read reads the rules that are in force. It needs CAP_NET_ADMIN, and the
// programs of those who made the rules..
func Read(ctx context.Context) ([]*Ruleset, error) {
	var all []*Ruleset
	var faults []error
	var skip []string
	known := false
	if text, err := run(ctx, "iptables-save", "-t", "filter"); err == nil {
		known = true
		if r := ParseIPTables(text); !r.Empty() {
			all = append(all, r)
		}
		skip = append(skip, "ip filter", "ip nat", "ip mangle", "ip raw", "ip security")
	}
	if legacy() {
		// The save program may speak of nftables' tables only.
		if text, err := run(ctx, "iptables-legacy-save", "-t", "filter"); err == nil {
			if r := ParseIPTables(text); !r.Empty() {
				all = append(all, r)
			}
		} else if !known {
			faults = append(faults, err)
		}
	}
	text, err := run(ctx, "nft", "-j", "list", "ruleset")
	if err == nil {
		var r *Ruleset
		if r, err = ParseNFT(text, skip...); err == nil && !r.Empty() {
			all = append(all, r)
		}
	}
	if err != nil && (!known || !errors.Is(err, exec.ErrNotFound)) {
		faults = append(faults, err)
	}
	return all, errors.Join(faults...)
}

// legacy says whether iptables' old tables are in use.
func legacy() bool {
	text, err := os.ReadFile("/proc/net/ip_tables_names")
	return err == nil && strings.Contains(string(text), "filter")
}

// run runs a program, also where only root has it in its path.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, exec.ErrNotFound)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return nil, fmt.Errorf("%s: %v: %s", name, err, line)
	}
	return out, nil
}
