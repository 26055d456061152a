package vm

import (
	"strconv"
	"strings"
)

// ParseShares reads low, normal, high, libvirt's -1, -2, -3 for them, or a
// number of shares.
func ParseShares(s string) (string, error) {
	switch t := strings.ToLower(strings.TrimSpace(s)); t {
	case "low", "-1":
		return "low", nil
	case "normal", "-2":
		return "normal", nil
	case "high", "-3":
		return "high", nil
	default:
		if n, err := strconv.ParseInt(t, 10, 32); err == nil && n >= 0 {
			return strconv.FormatInt(n, 10), nil
		}
	}
	return "", Errorf(ErrInvalid, "shares %q: low, normal, high, or a number", s)
}

// ParseScheduler reads settings of a guest's claim on its host, "name=value"
// each: reservation, limit (MHz), shares, memreservation, memlimit (MB or with
// a unit), memshares, latency.
func ParseScheduler(list []string) (Scheduler, error) {
	var s Scheduler
	for _, item := range list {
		name, v, ok := strings.Cut(item, "=")
		if !ok {
			return s, Errorf(ErrInvalid, "scheduler setting %q: write name=value", item)
		}
		if err := s.set(strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(v)); err != nil {
			return s, err
		}
	}
	return s, s.check()
}

func (s *Scheduler) set(name, v string) (err error) {
	switch name {
	case "reservation":
		s.CPUReservation, err = megahertz(v, 0)
	case "limit":
		s.CPULimit, err = megahertz(v, -1)
	case "shares":
		s.CPUShares, err = ParseShares(v)
	case "memreservation":
		s.MemReservation, err = megabytesOf(v, false)
	case "memlimit":
		s.MemLimit, err = megabytesOf(v, true)
	case "memshares":
		s.MemShares, err = ParseShares(v)
	case "latency":
		switch v {
		case "low", "normal", "medium", "high":
			s.Latency = v
		default:
			err = Errorf(ErrInvalid, "latency %q: low, normal, medium or high", v)
		}
	default:
		err = Errorf(ErrInvalid, "scheduler setting %q is unknown; reservation, limit, shares, memreservation, memlimit, memshares, latency", name)
	}
	return err
}

func megahertz(v string, least int64) (*int64, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < least {
		return nil, Errorf(ErrInvalid, "%q: not a number of MHz from %d up", v, least)
	}
	return &n, nil
}

func megabytesOf(v string, unlimited bool) (*int64, error) {
	if n := int64(-1); v == "-1" && unlimited {
		return &n, nil
	}
	if v == "0" {
		return new(int64), nil
	}
	n, err := ParseMemory(v)
	return &n, err
}

// check refuses what ESXi refuses: a limit below the reservation.
func (s Scheduler) check() error {
	if below(s.CPULimit, s.CPUReservation) || below(s.MemLimit, s.MemReservation) {
		return Errorf(ErrInvalid, "a limit must not be below its reservation; -1 is no limit")
	}
	return nil
}

func below(limit, reservation *int64) bool {
	return limit != nil && reservation != nil && *limit >= 0 && *limit < *reservation
}
