package vm

import (
	"context"
	"strings"
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
	var have []string
	for _, k := range cards {
		have = append(have, k.Device+" ("+k.Network+")")
		if k.Device == want || k.Network == want {
			if s.chosen != "" {
				return nil, Errorf(ErrInvalid, "%s and %s are both on %s; name one of them", s.chosen, k.Device, want)
			}
			s.chosen = k.Device
		}
	}
	if s.chosen == "" && want != "off" {
		return nil, Errorf(ErrNotFound, "no card of its kernel is %s or on such a network; it has %s", want, strings.Join(have, ", "))
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
