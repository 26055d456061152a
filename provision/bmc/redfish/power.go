package redfish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"margay/nodedb"
	"margay/provision/bmc"

	"github.com/stmcginnis/gofish/schemas"
)

// system is what we read of a ComputerSystem (DSP0268).
type system struct {
	Name         string
	Manufacturer string
	Model        string
	SKU          string
	PartNumber   string
	SerialNumber string
	AssetTag     string
	UUID         string
	BiosVersion  string
	PowerState   string
	IndicatorLED string
	Locator      *bool `json:"LocationIndicatorActive"`
	Boot         bootSource

	EthernetInterfaces link
	Processors         link
	Memory             link
	Storage            link
	PCIeDevices        []link
	LogServices        link
	VirtualMedia       link
	Bios               link
	Links              struct{ Chassis, ManagedBy []link }
	Settings           struct {
		SettingsObject link
	} `json:"@Redfish.Settings"`
	Actions struct {
		Reset resetAction `json:"#ComputerSystem.Reset"`
	}
}

type resetAction struct {
	Target     string   `json:"target"`
	Types      []string `json:"ResetType@Redfish.AllowableValues"`
	ActionInfo string   `json:"@Redfish.ActionInfo"`
}

func (c *Controller) read(ctx context.Context) (system, error) {
	var s system
	err := c.s.get(ctx, c.system, &s)
	return s, err
}

// State is the system's PowerState.
func (c *Controller) State(ctx context.Context) (nodedb.PowerState, error) {
	s, err := c.read(ctx)
	if err != nil {
		return nodedb.PowerUnknown, err
	}
	return stateOf(s.PowerState), nil
}

// stateOf takes a machine on its way up for off, and one on its way down for
// on: so it is until it has arrived.
func stateOf(s string) nodedb.PowerState {
	switch s {
	case "On", "PoweringOff":
		return nodedb.PowerOn
	case "Off", "PoweringOn":
		return nodedb.PowerOff
	case "Paused":
		return nodedb.PowerSuspended
	}
	return nodedb.PowerUnknown
}

// resetTypes are the words for an action, best first (DSP0268, ResetType).
func (c *Controller) resetTypes(a bmc.Action) []string {
	switch a {
	case bmc.On:
		return []string{"On", "ForceOn"}
	case bmc.Off:
		return []string{"ForceOff"}
	case bmc.SoftOff:
		return c.vendor.softOff
	case bmc.Reset:
		return []string{"ForceRestart", "PowerCycle"}
	case bmc.Cycle:
		return []string{"PowerCycle", "FullPowerCycle"}
	case bmc.NMI:
		return []string{"Nmi"}
	case bmc.Suspend:
		return []string{"Suspend", "Pause"}
	case bmc.Wake:
		return []string{"Resume", "On"}
	}
	return nil
}

// Do posts a reset action. A service that says "conflict" is at work on the
// last order, or already where this one leads.
func (c *Controller) Do(ctx context.Context, a bmc.Action) error {
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	word, err := c.choose(ctx, s.Actions.Reset, a)
	if err != nil {
		return err
	}
	target := s.Actions.Reset.Target
	if target == "" {
		target = c.system + "/Actions/ComputerSystem.Reset"
	}
	pause := laterPause
	for end := time.Now().Add(max(c.s.target.Patience(), 10*time.Second)); ; {
		err := c.s.post(ctx, target, map[string]string{"ResetType": word})
		if !conflict(err) {
			return err
		}
		now, serr := c.read(ctx)
		if serr != nil {
			return serr
		}
		if arrived(a, now.PowerState) {
			return nil
		}
		if time.Now().After(end) {
			return err
		}
		if !bmc.Sleep(ctx, pause) {
			return bmc.Timeout(context.Cause(ctx))
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// conflict: 409, or 400 with the message that some use for it.
func conflict(err error) bool {
	switch status(err) {
	case http.StatusConflict:
		return true
	case http.StatusBadRequest:
		var e *serviceError
		return errors.As(err, &e) && slices.ContainsFunc(e.cause.ExtendedInfos, func(x schemas.ErrExtendedInfo) bool {
			return slices.ContainsFunc(inTheWay(), func(id string) bool { return strings.HasSuffix(x.MessageID, id) })
		})
	}
	return false
}

// inTheWay are messages that say "not in this state" (DSP0268, Base registry,
// and what iLO and iDRAC have for it).
func inTheWay() []string {
	return []string{"ResourceInUse", "ResourceInStandby", "NoOperation", "InvalidOperationForSystemState", "PSU501"}
}

// arrived says whether a machine is where an order would take it.
func arrived(a bmc.Action, state string) bool {
	switch a {
	case bmc.On, bmc.Wake:
		return state == "On" || state == "PoweringOn"
	case bmc.Off, bmc.SoftOff:
		return state == "Off" || state == "PoweringOff"
	}
	return false
}

// choose picks the word that the service allows. One that lists none takes the
// standard's.
func (c *Controller) choose(ctx context.Context, r resetAction, a bmc.Action) (string, error) {
	words := c.resetTypes(a)
	if len(words) == 0 {
		return "", bmc.ErrUnsupported
	}
	allowed := r.Types
	if len(allowed) == 0 && r.ActionInfo != "" {
		var info struct {
			Parameters []struct {
				Name            string
				AllowableValues []string
			}
		}
		if err := c.s.get(ctx, r.ActionInfo, &info); err != nil && !gone(err) {
			return "", err
		}
		for _, p := range info.Parameters {
			if p.Name == "ResetType" {
				allowed = p.AllowableValues
			}
		}
	}
	if len(allowed) == 0 {
		return words[0], nil
	}
	for _, w := range words {
		if slices.Contains(allowed, w) {
			return w, nil
		}
	}
	return "", unsupported(fmt.Errorf("the service has no reset type for %s", a))
}
