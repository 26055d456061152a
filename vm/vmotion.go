package vm

import (
	"context"
	"strings"

	"margay/nodedb"
)

// SelectVMotion is chhypervisor --vmotion: guests move over the card that is
// named, by its device or its port group, and over no other; "off" has them
// move over none.
func SelectVMotion(want string) HostOp {
	return HostOp{
		do: func(ctx context.Context, hv Hypervisor, name string) (string, error) {
			s, err := readVMotion(ctx, hv, name, want)
			if err != nil {
				return "", err
			}
			for _, on := range []bool{true, false} { // first the new one, so that there always is one
				for _, device := range s.change(on) {
					if err := s.v.SelectVMotion(ctx, name, device, on); err != nil {
						return "", err
					}
				}
			}
			return s.String(), nil
		},
		foresee: func(ctx context.Context, hv Hypervisor, h *Host) ([]string, error) {
			name := h.Name
			if hv.About().Kind == ESX {
				name = ""
			}
			s, err := readVMotion(ctx, hv, name, want)
			if err != nil {
				return nil, err
			}
			var lines []string
			for _, device := range s.change(true) {
				lines = append(lines, "would have guests move over "+device)
			}
			for _, device := range s.change(false) {
				lines = append(lines, "would have guests move no longer over "+device)
			}
			if lines == nil {
				lines = []string{s.String()}
			}
			return lines, nil
		},
	}
}

// chooseVMotion has guests move over the card of a host that the table names,
// as soon as the host has joined its vCenter; where it names none, over the
// only one that there is, as xCAT does.
func (m *Manager) chooseVMotion(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, host, name string) error {
	n, _ := snap.Node(host)
	want := vmotionOf(n)
	if v, ok := as[VMotioner](hv); ok && want == "" {
		cards, err := v.KernelNICs(ctx, name)
		if err != nil {
			return err
		}
		want = onlyCard(cards)
	}
	if want == "" {
		return nil
	}
	_, err := SelectVMotion(want).do(ctx, hv, name)
	return err
}

// onlyCard is the card that guests can move over, "" if they do already or it
// is not clear which.
func onlyCard(cards []KernelNIC) string {
	only := ""
	for _, k := range cards {
		switch {
		case k.VMotion:
			return ""
		case k.Local:
		case only != "":
			return ""
		default:
			only = k.Device
		}
	}
	return only
}

// movesOver are the cards that guests move over, with what turns one on if
// there is none.
func movesOver(cards []KernelNIC, host string) string {
	var on []string
	for _, k := range cards {
		if k.VMotion {
			on = append(on, k.Device)
		}
	}
	if len(on) == 0 {
		return "vmotion: off; chhypervisor " + host + " --vmotion " + strings.Join(cardNames(cards), " or ")
	}
	return "vmotion: " + strings.Join(on, " ")
}

func cardNames(cards []KernelNIC) (out []string) {
	for _, k := range cards {
		out = append(out, k.Device+" ("+k.Network+")")
	}
	return out
}

// A vmotionChoice is which of a host's cards guests are to move over.
type vmotionChoice struct {
	v      VMotioner
	cards  []KernelNIC
	chosen string // "": none
}

func readVMotion(ctx context.Context, hv Hypervisor, name, want string) (*vmotionChoice, error) {
	v, ok := as[VMotioner](hv)
	if !ok {
		return nil, ErrUnsupported
	}
	cards, err := v.KernelNICs(ctx, name)
	if err != nil {
		return nil, err
	}
	s := &vmotionChoice{v: v, cards: cards}
	for _, k := range cards {
		if k.Device == want || k.Network == want {
			if s.chosen != "" {
				return nil, Errorf(ErrInvalid, "%s and %s are both on %s; name one of them", s.chosen, k.Device, want)
			}
			s.chosen = k.Device
		}
	}
	if s.chosen == "" && want != "off" {
		return nil, Errorf(ErrNotFound, "no card of its kernel is %s or on such a network; it has %s", want, strings.Join(cardNames(cards), ", "))
	}
	return s, nil
}

// change are the cards that are to be turned on or off for it.
func (s *vmotionChoice) change(on bool) (devices []string) {
	for _, k := range s.cards {
		if is := k.Device == s.chosen; is == on && k.VMotion != is {
			devices = append(devices, k.Device)
		}
	}
	return devices
}

func (s *vmotionChoice) String() string {
	if s.chosen == "" {
		return "vmotion: off"
	}
	return "vmotion: " + s.chosen
}
