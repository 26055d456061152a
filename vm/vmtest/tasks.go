package vmtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// tasks are those of a guest, or all, by the names that vim-cmd gives them.
func (s *Shell) tasks(of *types.ManagedObjectReference) (names []string, states map[string]types.TaskInfoState) {
	m := s.w.model.Map()
	ctx := &simulator.Context{Context: context.Background(), Map: m}
	states = map[string]types.TaskInfoState{}
	for _, o := range m.AllReference("Task") {
		t := o.(*simulator.Task)
		if of != nil && *t.Info.Entity != *of {
			continue
		}
		m.WithLock(ctx, t, func() {
			name := "haTask-" + digits(t.Info.Entity.Value) + "-vim." + t.Info.DescriptionId + "-" + digits(t.Info.Key)
			names = append(names, name)
			states[name] = t.Info.State
		})
	}
	return names, states
}

// taskList is vmsvc/get.tasklist.
func (s *Shell) taskList(v *simulator.VirtualMachine) string {
	names, _ := s.tasks(&v.Self)
	if len(names) == 0 {
		return "(ManagedObjectReference) []\n"
	}
	return "(ManagedObjectReference) [\n   'vim.Task:" + strings.Join(names, "', \n   'vim.Task:") + "'\n]\n"
}

// taskInfo is vimsvc/task_info.
func (s *Shell) taskInfo(w []string) (string, int) {
	if len(w) != 1 {
		return "Insufficient arguments.\n", 255
	}
	_, states := s.tasks(nil)
	state, ok := states[w[0]]
	if !ok {
		return faultText("vmodl.fault.ManagedObjectNotFound", "The object 'vim.Task:"+w[0]+"' has already been deleted or has not been completely created"), 1
	}
	return fmt.Sprintf("(vim.TaskInfo) {\n   key = \"%[1]s\", \n   task = 'vim.Task:%[1]s', \n   description = (vmodl.LocalizableMessage) null, \n   name = 'vim.VirtualMachine', \n   state = \"%[2]s\", \n   cancelled = false, \n   cancelable = false, \n   error = (vmodl.MethodFault) null, \n   progress = <unset>, \n}\n", w[0], state), 0
}
