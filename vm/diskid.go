package vm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ID is the disk's place as rinv prints it: "d200:0".
func (d Disk) ID() string { return fmt.Sprintf("d%d:%d", d.Controller, d.Unit) }

// Device is the disk's line in rinv, without its size and file.
func (d Disk) String() string {
	return fmt.Sprintf("%s (%s): %s MB @ %s", d.Label, d.ID(), megabytes(d.KB), d.Path)
}

// megabytes divides without rounding: 4194304 KB is 4096 MB, 1 KB more shows.
func megabytes(kb int64) string {
	return strconv.FormatFloat(float64(kb)/1024, 'f', -1, 64)
}

var (
	placeForm = regexp.MustCompile(`(?i)^d?(\d+):(\d+)$`)
	unitForm  = regexp.MustCompile(`(?i)^d(\d+)$`)
)

// FindDisk finds a disk by any of the names that chvm takes: its label ("Hard
// disk 2"), its number ("2"), its place ("d200:1"), or its unit alone ("d1"),
// which must not fit two.
func (s *Spec) FindDisk(id string) (*Disk, error) {
	id = strings.TrimSpace(id)
	if m := placeForm.FindStringSubmatch(id); m != nil {
		return s.oneDisk(id, func(d *Disk) bool { return strings.EqualFold(d.ID(), "d"+m[1]+":"+m[2]) })
	}
	if m := unitForm.FindStringSubmatch(id); m != nil {
		return s.oneDisk(id, func(d *Disk) bool { return strconv.Itoa(d.Unit) == m[1] })
	}
	if _, err := strconv.Atoi(id); err == nil {
		return s.oneDisk(id, func(d *Disk) bool { return strings.EqualFold(d.Label, "Hard disk "+id) })
	}
	return s.oneDisk(id, func(d *Disk) bool { return strings.EqualFold(d.Label, id) })
}

func (s *Spec) oneDisk(id string, is func(*Disk) bool) (*Disk, error) {
	var found *Disk
	for i := range s.Disks {
		if !is(&s.Disks[i]) {
			continue
		}
		if found != nil {
			return nil, Errorf(ErrInvalid, "Disk:  %s is both %s and %s; name it by controller and unit", id, found.ID(), s.Disks[i].ID())
		}
		found = &s.Disks[i]
	}
	if found == nil {
		return nil, Errorf(ErrNotFound, "Disk:  %s does not exist", id)
	}
	return found, nil
}
