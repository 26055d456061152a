package vm

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"margay/nodedb"
)

// A Licence is what a host may be used for. Its key is a secret.
type Licence struct{ Key, Name string }

// A Licenser gives hosts their licences.
type Licenser interface {
	// Licence is the one that a host has.
	Licence(ctx context.Context, host string) (Licence, error)
	// SetLicence gives it that of a key.
	SetLicence(ctx context.Context, host, key string) error
}

// License is chhypervisor --license: hosts that run get the licence that
// prodkey has for them, over their vCenter if they have one.
func (m *Manager) License(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, dry bool, emit Emit) {
	m.eachHost(ctx, snap, hosts, emit, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		for _, n := range hosts {
			key, err := licenceKey(snap, n)
			if err == nil && key == "" {
				err = Errorf(ErrInvalid, "prodkey has no licence key for it; chdef %s productkey=KEY", n.Name)
			}
			name, text := "", ""
			if err == nil && dry {
				var h *Host
				if h, err = lookAtHost(ctx, snap, hv, n); err == nil {
					name = nameAt(hv, h)
				}
			} else if err == nil {
				name, err = m.hostName(ctx, snap, hv, n.Name)
			}
			if err == nil {
				text, _, err = m.license(ctx, snap, hv, n, name, key, dry)
			}
			emit(Result{Node: n.Name, Text: textUnless(err, text), Err: err})
		}
	})
}

// nameAt is how a host is named to its endpoint: a host itself is not.
func nameAt(hv Hypervisor, h *Host) string {
	if hv.About().Kind == ESX {
		return ""
	}
	return h.Name
}

var licenceForm = regexp.MustCompile(`^([A-Z0-9]{5}-){4}[A-Z0-9]{5}$`)

// licenceKey is the key that the table has for a host, "" if none.
func licenceKey(snap *nodedb.Snapshot, n *nodedb.Node) (string, error) {
	key := strings.ToUpper(strings.TrimSpace(snap.ProductKey(n, "esx")))
	if key != "" && !licenceForm.MatchString(key) {
		return "", Errorf(ErrInvalid, "its key in prodkey is not a licence key, which has five groups of five letters or digits; chdef %s productkey=KEY", n.Name)
	}
	return key, nil
}

// license gives a host a licence unless it has it, and says so. What is known
// of a host that changed is forgotten: its licence says how it may be used.
func (m *Manager) license(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, n *nodedb.Node, name, key string, dry bool) (text string, changed bool, err error) {
	l, ok := as[Licenser](hv)
	if !ok {
		return "", false, ErrUnsupported
	}
	h, err := hv.Host(ctx, name)
	if err != nil {
		return "", false, err
	}
	if noLicenceKeys(h.Version) {
		return "", false, Errorf(ErrUnsupported, "ESXi %s takes no licence key: from 9.0 on its vCenter gives it what it may be used for", h.Version)
	}
	had, err := l.Licence(ctx, name)
	switch {
	case err != nil:
		return "", false, hideKey(err, key)
	case had.Key == key:
		return "licence: " + had.Name, false, nil
	case dry:
		return "would get the licence of its key in prodkey, in place of " + orNone(had.Name), false, nil
	}
	if err := l.SetLicence(ctx, name, key); err != nil {
		return "", false, fmt.Errorf("it does not take the licence key of prodkey: %w; if that is of another product or version: chdef %s productkey=KEY", hideKey(err, key), n.Name)
	}
	now, err := l.Licence(ctx, name)
	if err != nil {
		return "", true, hideKey(err, key)
	}
	if now.Key != key {
		return "", false, Errorf(ErrInvalid, "it was given the licence key of prodkey and has %s still; if the key is of another product or version: chdef %s productkey=KEY", orNone(now.Name), n.Name)
	}
	if hv.About().Kind == ESX {
		if e, err := HostEndpoint(snap, n.Name); err == nil {
			m.Forget(e)
		}
	}
	return "licence: " + now.Name, true, nil
}

// noLicenceKeys says whether hosts of a version have none.
func noLicenceKeys(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= 9
}

// hideKey takes a licence key out of what a host says of it.
func hideKey(err error, key string) error {
	if err == nil || !strings.Contains(strings.ToUpper(err.Error()), key) {
		return err
	}
	return Errorf(ErrInvalid, "%s", regexp.MustCompile("(?i)"+regexp.QuoteMeta(key)).ReplaceAllString(err.Error(), "******"))
}
