package vm

import "strings"

// A Bus is the kind of controller that a disk hangs on.
type Bus string

// The buses, by VMX's names.
const (
	IDE      Bus = "ide"
	LSILogic Bus = "lsilogic"
	LSISAS   Bus = "lsisas1068"
	BusLogic Bus = "buslogic"
	PVSCSI   Bus = "pvscsi"
	SATA     Bus = "sata"
	NVMe     Bus = "nvme"
)

// ParseBus reads a storage model: xCAT's ide, scsi, sas and pvscsi, and the
// rest of what ESXi has.
func ParseBus(s string) (Bus, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "ide":
		return IDE, nil
	case "scsi", "lsilogic", "lsi":
		return LSILogic, nil
	case "sas", "lsisas", "lsisas1068":
		return LSISAS, nil
	case "buslogic":
		return BusLogic, nil
	case "pvscsi", "vmpvscsi":
		return PVSCSI, nil
	case "sata", "ahci":
		return SATA, nil
	case "nvme":
		return NVMe, nil
	}
	return "", Errorf(ErrInvalid, "storage model %q is unknown; one of ide, scsi, sas, pvscsi, buslogic, sata, nvme", s)
}

// SCSI says whether b is one of the SCSI controllers, which share bus numbers.
func (b Bus) SCSI() bool {
	return b == LSILogic || b == LSISAS || b == BusLogic || b == PVSCSI
}

// HotPlug says whether a disk can be added to b while the guest runs.
func (b Bus) HotPlug() bool { return b != IDE }

// ControllerKey is the key that ESXi gives the bus's n-th controller.
func (b Bus) ControllerKey(n int) int32 {
	switch {
	case b == IDE:
		return 200 + int32(n)
	case b == SATA:
		return 15000 + int32(n)
	case b == NVMe:
		return 31000 + int32(n)
	}
	return 1000 + int32(n)
}

// limits of a bus: how many controllers a guest may have, and how many units
// each takes. Unit 7 of a SCSI controller is the controller itself.
// ("vSphere Virtual Machine Administration", SCSI and SATA storage controller
// conditions, limitations and compatibility.)
func (b Bus) limits() (controllers, units int) {
	switch {
	case b == IDE:
		return 2, 2
	case b == SATA:
		return 4, 30
	case b == NVMe:
		return 4, 15
	}
	return 4, 16
}

// ParseFormat reads how a disk takes room on its datastore: thin,
// zeroedthick (or thick), eagerzeroedthick, also with "vmdk_" before it.
func ParseFormat(s string) (Format, error) {
	switch f := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(s)), "vmdk_"); f {
	case "", "thin":
		return Thin, nil
	case "thick", "zeroedthick", "lazy":
		return ZeroedThick, nil
	case "eagerzeroedthick", "eager":
		return EagerZeroedThick, nil
	}
	return "", Errorf(ErrInvalid, "disk format %q is unknown; one of thin, zeroedthick, eagerzeroedthick", s)
}

// A Format is how a disk takes room on its datastore.
type Format string

// The formats, by vmkfstools' names.
const (
	Thin             Format = "thin"
	ZeroedThick      Format = "zeroedthick"
	EagerZeroedThick Format = "eagerzeroedthick"
)
