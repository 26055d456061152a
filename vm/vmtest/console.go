package vmtest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// AcquireTicket gives a ticket for a guest that runs.
func (x *vmObject) AcquireTicket(req *types.AcquireTicket) soap.HasFault {
	body := &methods.AcquireTicketBody{}
	switch {
	case !slices.Contains([]string{"webmks", "mks", "device", "guestControl", "guestIntegrity", "webRemoteDevice"}, req.TicketType):
		body.Fault_ = simulator.Fault("", invalid("ticketType"))
	case x.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn:
		body.Fault_ = simulator.Fault("", wrongState(x.Runtime.PowerState, types.VirtualMachinePowerStatePoweredOn))
	default:
		b := make([]byte, 8)
		rand.Read(b)
		t := types.VirtualMachineTicket{Ticket: hex.EncodeToString(b), CfgFile: x.Config.Files.VmPathName, SslThumbprint: x.w.Thumbprint}
		if x.w.vcenter {
			t.Host, t.Port = "esx.example.org", 443
		}
		body.Res = &types.AcquireTicketResponse{Returnval: t}
	}
	return body
}

// CreateScreenshotTask writes what the screen shows beside the guest's files.
func (x *vmObject) CreateScreenshotTask(ctx *simulator.Context, _ *types.CreateScreenshot_Task) soap.HasFault {
	body := &methods.CreateScreenshot_TaskBody{Res: &types.CreateScreenshot_TaskResponse{}}
	if x.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		body.Res.Returnval = failing(ctx, x.VirtualMachine, "createScreenshot", wrongState(x.Runtime.PowerState, types.VirtualMachinePowerStatePoweredOn))
		return body
	}
	body.Res.Returnval = simulator.CreateTask(x.VirtualMachine, "createScreenshot", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		ds, _ := splitPath(x.Config.Files.VmPathName)
		name := fmt.Sprintf("[%s] %s/%s-1.png", ds, x.Name, x.Name)
		if err := os.WriteFile(x.w.File(name), screenPNG(), 0o600); err != nil {
			return nil, &types.FileFault{File: name}
		}
		return name, nil
	}).Run(ctx)
	return body
}

// NoScreen takes the page away that shows guests' screens.
func (w *World) NoScreen() { w.noScreen.Store(true) }

// screen is the page of that name: only for who is logged in, only of guests
// that run.
func (w *World) screen(rw http.ResponseWriter, r *http.Request) {
	if w.noScreen.Load() {
		http.NotFound(rw, r)
		return
	}
	if !w.loggedIn(r) {
		rw.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
		http.Error(rw, "401 Unauthorized", http.StatusUnauthorized)
		return
	}
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: r.URL.Query().Get("id")}
	v, ok := w.model.Map().Get(ref).(*simulator.VirtualMachine)
	if !ok || v.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		http.Error(rw, "500 Internal Server Error", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "image/png")
	rw.Write(screenPNG())
}

// screenPNG is what every guest's screen shows.
func screenPNG() []byte {
	img := image.NewGray(image.Rect(0, 0, 72, 40))
	for i := range 40 {
		img.SetGray(i, i, color.Gray{255})
	}
	var b bytes.Buffer
	png.Encode(&b, img)
	return b.Bytes()
}

// NoTickets makes the shell one that gives no tickets.
func (w *World) NoTickets() { w.noTickets.Store(true) }

// ticket is vim-cmd's vmsvc/acquireticket. The host calls itself localhost.
func (s *Shell) ticket(v *simulator.VirtualMachine, w []string) (string, int) {
	if s.w.noTickets.Load() {
		return "Invalid command 'vmsvc/acquireticket'.\n", 255
	}
	if len(w) != 1 || w[0] != "webmks" && w[0] != "mks" {
		return "Invalid ticket type.\n", 1
	}
	if s.powerText(v) != "Powered on" {
		return faultText("vim.fault.InvalidPowerState", "The attempted operation cannot be performed in the current state (Powered off)."), 1
	}
	b := make([]byte, 8)
	rand.Read(b)
	t := hex.EncodeToString(b)
	address := fmt.Sprintf("wss://localhost:443/ticket/%s", t)
	if w[0] == "mks" {
		address = fmt.Sprintf("vmrc://clone:%s@localhost:443/?moid=%s", t, digits(v.Self.Value))
	}
	return fmt.Sprintf("(vim.VirtualMachine.Ticket) {\n   ticket = \"%s\", \n   cfgFile = \"%s\", \n   host = <unset>, \n   port = <unset>, \n   sslThumbprint = \"%s\", \n}\n%s\n", t, v.Config.Files.VmPathName, s.w.Thumbprint, address), 0
}
