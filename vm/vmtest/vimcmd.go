package vmtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// faultText prints a fault as vim-cmd does.
func faultText(kind, msg string, fields ...string) string {
	s := "(" + kind + ") {\n   faultCause = (vmodl.MethodFault) null, \n   faultMessage = <unset>, \n"
	for _, f := range fields {
		s += "   " + f + ", \n"
	}
	return s + "   msg = \"" + msg + "\"\n}\n"
}

// errText prints whatever the API says.
func errText(err error) (string, int) {
	if err == nil {
		return "", 0
	}
	var f types.BaseMethodFault
	if te, ok := err.(task.Error); ok {
		f = te.Fault()
	} else if soap.IsSoapFault(err) {
		switch v := soap.ToSoapFault(err).VimFault().(type) {
		case types.InvalidPowerState:
			f = &v
		case types.ToolsUnavailable:
			f = &v
		}
	}
	switch f := f.(type) {
	case *types.InvalidPowerState:
		return faultText("vim.fault.InvalidPowerState", "The attempted operation cannot be performed in the current state.", `existingState = "`+string(f.ExistingState)+`"`), 1
	case *types.ToolsUnavailable:
		return faultText("vim.fault.ToolsUnavailable", "Cannot complete operation because VMware Tools is not running in this virtual machine."), 1
	case *types.NotFound:
		return faultText("vim.fault.NotFound", "The object or item referred to could not be found."), 1
	case *types.AlreadyExists:
		return faultText("vim.fault.AlreadyExists", "The specified key, name, or identifier '"+f.Name+"' already exists.", `name = "`+digits(f.Name)+`"`), 1
	}
	return faultText("vmodl.fault.SystemError", fmt.Sprint(err)), 1
}

func digits(s string) string {
	return strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-")
}

// guests are the guests by their vim-cmd number.
func (s *Shell) guests() map[int]*simulator.VirtualMachine {
	out := map[int]*simulator.VirtualMachine{}
	for _, o := range s.w.model.Map().All("VirtualMachine") {
		n, _ := strconv.Atoi(digits(o.Reference().Value))
		out[n] = o.(*simulator.VirtualMachine)
	}
	return out
}

// read runs fn while nothing changes a guest.
func (s *Shell) read(v *simulator.VirtualMachine, fn func()) {
	m := s.w.model.Map()
	m.WithLock(&simulator.Context{Context: context.Background(), Map: m}, v, fn)
}

func (s *Shell) guest(id string) (*simulator.VirtualMachine, string) {
	n, err := strconv.Atoi(id)
	if v := s.guests()[n]; v != nil && err == nil {
		return v, ""
	}
	return nil, faultText("vim.fault.NotFound", `Unable to find a VM corresponding to "`+id+`"`)
}

// vim runs vim-cmd.
func (s *Shell) vim(w []string) (string, int) {
	if len(w) == 0 {
		return "Commands available under /:\nhbrsvc/       internalsvc/  solo/         vmsvc/        \nhostsvc/      proxysvc/     vimsvc/       help          \n", 0
	}
	switch w[0] {
	case "vmsvc/getallvms":
		return s.getAllVMs(), 0
	case "solo/registervm":
		return s.register(w[1:])
	case "vimsvc/task_info":
		return s.taskInfo(w[1:])
	case "vimsvc/license":
		return s.licence(w[1:])
	case "hostsvc/hostsummary":
		return s.hostSummary(), 0
	}
	if word, ok := strings.CutPrefix(w[0], "hostsvc/autostartmanager/"); ok {
		return s.autostart(word, w[1:])
	}
	if len(w) < 2 {
		return "Invalid command '" + w[0] + "'.\n", 255
	}
	v, missing := s.guest(w[1])
	if v == nil {
		return missing, 1
	}
	switch w[0] {
	case "vmsvc/power.getstate":
		return "Retrieved runtime info\n" + s.powerText(v) + "\n", 0
	case "vmsvc/power.on", "vmsvc/power.off", "vmsvc/power.reset", "vmsvc/power.suspend":
		return s.power(v, strings.TrimPrefix(w[0], "vmsvc/power."))
	case "vmsvc/power.shutdown":
		return errText(object.NewVirtualMachine(s.w.inUse, v.Self).ShutdownGuest(context.Background()))
	case "vmsvc/get.summary":
		return s.summary(v), 0
	case "vmsvc/message":
		return s.message(v, w[2:])
	case "vmsvc/unregister":
		return errText(object.NewVirtualMachine(s.w.inUse, v.Self).Unregister(context.Background()))
	case "vmsvc/destroy":
		return errText(s.wait(object.NewVirtualMachine(s.w.inUse, v.Self).Destroy(context.Background())))
	case "vmsvc/get.tasklist":
		return s.taskList(v), 0
	case "vmsvc/acquireticket":
		return s.ticket(v, w[2:])
	case "vmsvc/snapshot.get":
		return "Get Snapshot:\n" + s.snapshotTree(v), 0
	case "vmsvc/get.snapshotinfo":
		return s.snapshotInfo(v), 0
	case "vmsvc/snapshot.create", "vmsvc/snapshot.revert", "vmsvc/snapshot.remove":
		return s.snapshot(v, strings.TrimPrefix(w[0], "vmsvc/snapshot."), w[2:])
	case "vmsvc/reload":
		return s.reload(v)
	}
	return "Invalid command '" + w[0] + "'.\n", 255
}

func (s *Shell) wait(t *object.Task, err error) error {
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return t.Wait(ctx)
}

// waitFor is wait for a task that the API's bare method gave.
func (s *Shell) waitFor(ref types.ManagedObjectReference) error {
	return s.wait(object.NewTask(s.w.inUse, ref), nil)
}

func (s *Shell) getAllVMs() string {
	head := []string{"Vmid", "Name", "File", "Guest OS", "Version", "Annotation"}
	var rows [][]string
	guests := s.guests()
	var ids []int
	for id := range guests {
		ids = append(ids, id)
	}
	sort.Ints(ids)
	for _, id := range ids {
		v := guests[id]
		s.read(v, func() {
			rows = append(rows, []string{strconv.Itoa(id), v.Name, v.Config.Files.VmPathName, v.Config.GuestId, v.Config.Version, v.Config.Annotation})
		})
	}
	width := make([]int, len(head))
	for _, r := range append([][]string{head}, rows...) {
		for i := range r {
			width[i] = max(width[i], len(r[i]))
		}
	}
	out := ""
	for _, r := range append([][]string{head}, rows...) {
		for i := range r {
			out += fmt.Sprintf("%-*s   ", width[i], r[i])
		}
		out += "\n"
	}
	return out
}

func (s *Shell) powerText(v *simulator.VirtualMachine) (text string) {
	s.read(v, func() {
		text = map[types.VirtualMachinePowerState]string{"poweredOn": "Powered on", "poweredOff": "Powered off", "suspended": "Suspended"}[v.Runtime.PowerState]
	})
	return text
}

func (s *Shell) power(v *simulator.VirtualMachine, op string) (string, int) {
	vm := object.NewVirtualMachine(s.w.inUse, v.Self)
	ctx := context.Background()
	var head, failed string
	var err error
	switch op {
	case "on":
		head, failed = "Powering on VM:\n", "Power on failed\n"
		err = s.wait(vm.PowerOn(ctx))
	case "off":
		head, failed = "Powering off VM:\n", "Power off failed\n"
		err = s.wait(vm.PowerOff(ctx))
	case "reset":
		head, failed = "Reset VM:\n", "Reset failed\n"
		err = s.wait(vm.Reset(ctx))
	case "suspend":
		head, failed = "Suspending VM:\n", "Suspend failed\n"
		err = s.wait(vm.Suspend(ctx))
	}
	if err != nil {
		return head + failed, 1
	}
	return head, 0
}

func (s *Shell) summary(v *simulator.VirtualMachine) (out string) {
	s.read(v, func() {
		c, tools, ip := v.Summary.Config, "guestToolsNotRunning", "<unset>"
		if v.Guest != nil && v.Guest.ToolsRunningStatus != "" {
			tools = v.Guest.ToolsRunningStatus
		}
		if v.Guest != nil && v.Guest.IpAddress != "" {
			ip = `"` + v.Guest.IpAddress + `"`
		}
		out = fmt.Sprintf(`Listsummary:

(vim.vm.Summary) {
   vm = 'vim.VirtualMachine:%s', 
   runtime = (vim.vm.RuntimeInfo) {
      host = 'vim.HostSystem:ha-host', 
      connectionState = "connected", 
      powerState = "%s", 
      bootTime = <unset>, 
      question = (vim.vm.QuestionInfo) null, 
   }, 
   guest = (vim.vm.Summary.GuestSummary) {
      toolsRunningStatus = "%s", 
      ipAddress = %s, 
   }, 
   config = (vim.vm.Summary.ConfigSummary) {
      name = "%s", 
      template = %v, 
      vmPathName = "%s", 
      memorySizeMB = %d, 
      numCpu = %d, 
      uuid = "%s", 
      guestId = "%s", 
   }, 
   overallStatus = "green", 
}
`, digits(v.Self.Value), v.Runtime.PowerState, tools, ip, c.Name, c.Template, c.VmPathName, c.MemorySizeMB, c.NumCpu, c.Uuid, c.GuestId)
	})
	return out
}

func (s *Shell) hostSummary() string {
	h := hostsInOrder(s.w.model.Map())[0]
	return fmt.Sprintf("(vim.host.Summary) {\n   host = 'vim.HostSystem:ha-host', \n   hardware = (vim.host.Summary.HardwareSummary) {\n      vendor = \"%s\", \n      model = \"%s\", \n      memorySize = %d, \n      cpuMhz = %d, \n      numCpuCores = %d, \n   }, \n   runtime = (vim.host.RuntimeInfo) {\n      connectionState = \"connected\", \n      inMaintenanceMode = %v, \n   }, \n   managementServerIp = <unset>, \n}\n",
		h.Summary.Hardware.Vendor, h.Summary.Hardware.Model, h.Summary.Hardware.MemorySize, h.Summary.Hardware.CpuMhz, h.Summary.Hardware.NumCpuCores, h.Runtime.InMaintenanceMode)
}

func (s *Shell) message(v *simulator.VirtualMachine, args []string) (string, int) {
	if len(args) == 2 {
		req := types.AnswerVM{This: v.Self, QuestionId: args[0], AnswerChoice: args[1]}
		x := &vmObject{v, s.w}
		if x.AnswerVM(&req).Fault() != nil {
			return faultText("vmodl.fault.InvalidArgument", "A specified parameter was not correct: questionId"), 1
		}
		return "", 0
	}
	var q *types.VirtualMachineQuestionInfo
	s.read(v, func() { q = v.Runtime.Question })
	if q == nil {
		return "No message.\n", 0
	}
	out := "Virtual machine message " + q.Id + ":\n" + q.Text + "\n\n"
	for i, c := range q.Choice.ChoiceInfo {
		d := c.GetElementDescription()
		out += fmt.Sprintf("   %s. %s (%s)", d.Key, d.Summary, d.Summary)
		if int32(i) == q.Choice.DefaultIndex {
			out += " [default]"
		}
		out += "\n"
	}
	return out + "Answer required.\n", 0
}

// register registers a .vmx; the API's own way does the work.
func (s *Shell) register(w []string) (string, int) {
	if len(w) == 0 {
		return "Insufficient arguments.\n", 255
	}
	ds, file := splitPath(w[0])
	path, name := "["+ds+"] "+file, ""
	if len(w) > 1 {
		name = w[1]
	}
	ctx := context.Background()
	m := s.w.model.Map()
	dc := m.Any("Datacenter").(*simulator.Datacenter)
	host := hostsInOrder(m)[0]
	var pool types.ManagedObjectReference
	for _, o := range m.All("ResourcePool") {
		pool = o.Reference()
	}
	ref := host.Self
	f := object.NewFolder(s.w.inUse, dc.VmFolder)
	t, err := f.RegisterVM(ctx, path, name, false, object.NewResourcePool(s.w.inUse, pool), object.NewHostSystem(s.w.inUse, ref))
	if err != nil {
		return errText(err)
	}
	info, err := t.WaitForResult(ctx)
	if err != nil {
		return errText(err)
	}
	return digits(info.Result.(types.ManagedObjectReference).Value) + "\n", 0
}

// reload makes a guest what its .vmx says by now.
func (s *Shell) reload(v *simulator.VirtualMachine) (string, int) {
	text, err := os.ReadFile(s.w.File(v.Config.Files.VmPathName))
	if err != nil {
		return faultText("vim.fault.NotFound", "The object or item referred to could not be found."), 1
	}
	m := s.w.model.Map()
	ctx := &simulator.Context{Context: context.Background(), Map: m, Session: &simulator.Session{Registry: simulator.NewRegistry()}}
	cfg := parseVMX(string(text))
	dir := filepath.ToSlash(filepath.Dir(v.Config.Files.VmPathName))
	if f := s.w.become(ctx, v, cfg, dir); f != nil {
		return faultText("vim.fault.InvalidVmConfig", fmt.Sprintf("%T", f)), 1
	}
	s.read(v, func() { s.dropExtra(v, cfg) })
	return "", 0
}

// dropExtra takes out of a guest what its .vmx no longer has.
func (s *Shell) dropExtra(v *simulator.VirtualMachine, cfg map[string]string) {
	v.Config.ExtraConfig = slices.DeleteFunc(v.Config.ExtraConfig, func(o types.BaseOptionValue) bool {
		_, ok := cfg[strings.ToLower(o.GetOptionValue().Key)]
		return !ok
	})
}
