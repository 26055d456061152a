// Package ipmi speaks IPMI 2.0 (RMCP+) to management controllers.
//
// Messages, records and the session's mathematics are go-ipmi's; the session
// itself is ours. A daemon that talks to a thousand controllers cannot take a
// client that believes packets before it has checked their authentication
// code, and whose waits add up. Section numbers are those of the IPMI 2.0
// specification, revision 1.1.
package ipmi

import (
	"context"

	"margay/nodedb"
	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Privileges that requests need (appendix G).
const (
	user     = types.PrivilegeLevelUser
	operator = types.PrivilegeLevelOperator
	admin    = types.PrivilegeLevelAdministrator
)

// A Controller is a session with one BMC. It implements bmc.Controller.
type Controller struct {
	target bmc.Target
	s      *session
	sdr    []*types.SDR // the repository, once read
}

var _ bmc.Controller = (*Controller)(nil)

// Dial opens a session. It fails with bmc.ErrTimeout, ErrUser, ErrPassword,
// ErrBusy, ErrPrivilege or ErrUnsupported. The caller closes it.
func Dial(ctx context.Context, t bmc.Target) (*Controller, error) {
	s, err := open(ctx, t)
	if err != nil {
		return nil, err
	}
	return &Controller{target: t, s: s}, nil
}

// Close ends the session and tells the BMC so.
func (c *Controller) Close() error { return c.s.close() }

// State is the power as Get Chassis Status has it (28.2).
func (c *Controller) State(ctx context.Context) (nodedb.PowerState, error) {
	var res chassis.GetChassisStatusResponse
	if err := c.s.do(ctx, user, &chassis.GetChassisStatusRequest{}, &res); err != nil {
		return nodedb.PowerUnknown, err
	}
	if res.PowerIsOn {
		return nodedb.PowerOn, nil
	}
	return nodedb.PowerOff, nil
}

// Do sends a Chassis Control order (28.3). Suspend and wake are not among
// them.
func (c *Controller) Do(ctx context.Context, a bmc.Action) error {
	var order chassis.ChassisControl
	switch a {
	case bmc.On:
		order = chassis.ChassisControlPowerUp
	case bmc.Off:
		order = chassis.ChassisControlPowerDown
	case bmc.SoftOff:
		order = chassis.ChassisControlSoftShutdown
	case bmc.Reset:
		order = chassis.ChassisControlHardReset
	case bmc.Cycle:
		order = chassis.ChassisControlPowerCycle
	case bmc.NMI:
		order = chassis.ChassisControlDiagnosticInterrupt
	default:
		return bmc.ErrUnsupported
	}
	err := c.s.do(ctx, operator, &chassis.ChassisControlRequest{ChassisControl: order}, nil)
	// CCh and C9h: the action is optional and not there; D5h: not in this state.
	switch codeOf(err) {
	case types.CodeRequestDataFieldInvalid, types.CodeParameterOutOfRange, types.CodeNotSupported:
		return unsupported(err)
	}
	return err
}
