package provision

import (
	"crypto/hmac"
	"strings"

	"margay/netboot"
)

// ProbeWord is what `margay probe` shows to be taken for a node. Without
// commit its asking changes nothing; with it, it counts as the machine's own.
func (s *Service) ProbeWord(node string, commit bool) string {
	if commit {
		return s.probe + ".commit." + node
	}
	return s.probe + ".dry." + node
}

// probed is the node that m plays as a probe of ours.
func (s *Service) probed(m netboot.Machine) (node string, commit, ok bool) {
	if m.Probe == "" {
		return "", false, false
	}
	parts := strings.SplitN(m.Probe, ".", 3)
	if len(parts) != 3 || !hmac.Equal([]byte(parts[0]), []byte(s.probe)) {
		return "", false, false
	}
	return parts[2], parts[1] == "commit", true
}

// dry says whether m is a probe whose asking changes nothing.
func (s *Service) dry(m netboot.Machine) bool {
	_, commit, ok := s.probed(m)
	return ok && !commit
}

// plays says whether m is a probe that plays the node.
func (s *Service) plays(m netboot.Machine, node string) bool {
	name, _, ok := s.probed(m)
	return ok && name == node
}
