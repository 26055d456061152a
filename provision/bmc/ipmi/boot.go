package ipmi

import (
	"context"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Boot flags are parameter 5 of the system boot options (28.12, table 28-14).
const (
	paramSetInProgress   = 0
	paramValidBitClear   = 3
	paramInfoAcknowledge = 4
	paramBootFlags       = 5

	flagValid      = 0x80 // data 1
	flagPersistent = 0x40
	flagEFI        = 0x20

	deviceShift = 2 // data 2, bits 5 to 2
	deviceMask  = 0x0f
)

// deviceCodes are the boot device selectors (table 28-14, parameter 5).
func deviceCodes() map[bmc.Device]byte {
	return map[bmc.Device]byte{
		bmc.Default:  0x0,
		bmc.Network:  0x1,
		bmc.HardDisk: 0x2,
		bmc.CD:       0x5,
		bmc.Setup:    0x6,
		bmc.Floppy:   0xf,
	}
}

// Boot reads the boot flags.
func (c *Controller) Boot(ctx context.Context) (bmc.Boot, error) {
	var res chassis.GetSystemBootOptionsParamResponse
	req := &chassis.GetSystemBootOptionsParamRequest{ParamSelector: paramBootFlags}
	err := c.s.do(ctx, operator, req, &res)
	if codeOf(err) == types.CodeParameterNotSupported {
		return bmc.Boot{}, unsupported(err)
	}
	if err != nil {
		return bmc.Boot{}, err
	}
	return bootOf(res.ParamData), nil
}

// bootOf reads the five bytes of the flags. A machine ignores them unless they
// are marked valid.
func bootOf(data []byte) bmc.Boot {
	if len(data) < 2 {
		return bmc.Boot{}
	}
	if data[0]&flagValid == 0 {
		return bmc.Boot{Unmarked: deviceOf(data[1])}
	}
	b := bmc.Boot{Device: deviceOf(data[1]), UEFI: data[0]&flagEFI != 0, Persistent: data[0]&flagPersistent != 0}
	if b.Device == bmc.Other {
		b.Detail = types.BootDeviceSelector(data[1] >> deviceShift & deviceMask).String()
	}
	return b
}

// deviceOf reads data 2.
func deviceOf(data byte) bmc.Device {
	for device, code := range deviceCodes() {
		if code == data>>deviceShift&deviceMask {
			return device
		}
	}
	return bmc.Other
}

// WriteBoot sets the boot flags. What goes before them is said by BMCs that
// honour the standard to be needed and is not minded by the others: without
// parameter 3 the flags lapse 60 seconds after they were set unless a reset
// comes, and parameter 4 says that the flags are meant for whoever boots
// (28.12, table 28-14).
func (c *Controller) WriteBoot(ctx context.Context, b bmc.Boot) error {
	code, ok := deviceCodes()[b.Device]
	if !ok {
		return unsupported(errDevice(b.Device))
	}
	_ = c.writeOption(ctx, paramSetInProgress, 1)
	_ = c.writeOption(ctx, paramValidBitClear, 0x08)
	_ = c.writeOption(ctx, paramInfoAcknowledge, 0x01, 0x01)
	first := byte(flagValid)
	if b.Persistent {
		first |= flagPersistent
	}
	if b.UEFI {
		first |= flagEFI
	}
	err := c.writeOption(ctx, paramBootFlags, first, code<<deviceShift, 0, 0, 0)
	_ = c.writeOption(ctx, paramSetInProgress, 0)
	return err
}

type errDevice bmc.Device

func (e errDevice) Error() string { return "IPMI has no boot device " + string(e) }

func (c *Controller) writeOption(ctx context.Context, selector types.BootOptionParamSelector, data ...byte) error {
	return c.s.do(ctx, operator, &chassis.SetSystemBootOptionsParamRequest{ParamSelector: selector, ParamData: data}, nil)
}
