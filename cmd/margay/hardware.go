package main

import (
	"context"
	"io"

	"margay/cmd/command"
	"margay/nodedb"
	"margay/provision/bmc"
	"margay/provision/bmc/ipmi"
	"margay/provision/bmc/redfish"
)

// hardware reaches bare metal over IPMI and Redfish. Certificates that are
// seen for the first time go into the table; consoles are logged in logs.
// Redfish has no console of its own, so all are IPMI's serial over LAN.
func hardware(db *nodedb.DB, logs string) *command.Hardware {
	pins := bmc.TablePins{DB: db}
	console := func(ctx context.Context, node string) (io.ReadWriteCloser, error) {
		snap := db.Snapshot()
		n, err := snap.Node(node)
		if err != nil {
			return nil, err
		}
		t, err := bmc.TargetOf(snap, n)
		if err != nil {
			return nil, err
		}
		if t.Kind == bmc.Redfish {
			t.Port = 0
		}
		return ipmi.OpenConsole(ctx, t)
	}
	return &command.Hardware{
		Dial:     map[bmc.Kind]bmc.Dialer{bmc.IPMI: &ipmi.Dialer{}, bmc.Redfish: &redfish.Dialer{Pins: pins}},
		Pins:     pins,
		Consoles: &bmc.Consoles{Dir: logs, Open: console},
	}
}
