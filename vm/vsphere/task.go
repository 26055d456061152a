package vsphere

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// A job is one task from its start to its end.
type job struct {
	vm       types.ManagedObjectReference // whose questions are answered; zero: nobody's
	policy   vm.Policy
	start    func(ctx context.Context) (types.ManagedObjectReference, error)
	progress vm.Progress
	keep     func(types.BaseMethodFault) // is shown the fault that ends it; may be nil
	done     func(result types.AnyType, err error)

	task     types.ManagedObjectReference
	deadline time.Time
	asked    string // id of the question that was answered
	answer   error  // how the task ends because of it
	over     bool
}

// A run follows many jobs through one property collector.
type run struct {
	c        *Conn
	limit    int
	waiting  []*job
	inflight map[types.ManagedObjectReference]*job   // by task
	byVM     map[types.ManagedObjectReference][]*job // by guest
	pc       *property.Collector
	version  string
	losses   int   // collectors that went away
	unsaid   error // why an answer did not get through; nil: all did
}

// tasks is how many tasks the endpoint is given at a time.
func (c *Conn) tasks() int { return int(c.workers.Load()) }

// work runs jobs, at most limit at a time, and returns when each is done. A
// context that ends cancels the tasks that run.
func (c *Conn) work(ctx context.Context, limit int, jobs []*job) {
	r := &run{c: c, limit: limit, waiting: jobs,
		inflight: map[types.ManagedObjectReference]*job{}, byVM: map[types.ManagedObjectReference][]*job{}}
	defer r.close()
	for len(r.waiting) > 0 || len(r.inflight) > 0 {
		if ctx.Err() != nil {
			r.abandon(ctx.Err())
			return
		}
		r.fill(ctx)
		if len(r.inflight) == 0 {
			continue
		}
		if err := r.step(ctx); err != nil {
			if ctx.Err() != nil {
				continue
			}
			r.abandon(err)
			return
		}
	}
}

// do runs one task.
func (c *Conn) do(ctx context.Context, j *job) (types.AnyType, error) {
	var result types.AnyType
	var err error
	j.done = func(r types.AnyType, e error) { result, err = r, e }
	c.work(ctx, 1, []*job{j})
	return result, err
}

// fill starts waiting jobs, in parallel, and watches them.
func (r *run) fill(ctx context.Context) {
	n := min(len(r.waiting), r.limit-len(r.inflight))
	if n <= 0 {
		return
	}
	batch := r.waiting[:n]
	r.waiting = r.waiting[n:]
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i, j := range batch {
		wg.Go(func() { j.task, errs[i] = j.start(ctx) })
	}
	wg.Wait()
	var watch []*job
	for i, j := range batch {
		if errs[i] != nil {
			j.end(nil, wrap(errs[i]))
			continue
		}
		wait := j.policy.Deadline
		if wait == 0 {
			wait = vm.DefaultDeadline
		}
		j.deadline = time.Now().Add(wait)
		r.inflight[j.task] = j
		if j.vm.Value != "" {
			r.byVM[j.vm] = append(r.byVM[j.vm], j)
		}
		watch = append(watch, j)
	}
	if err := r.watch(ctx, watch); err != nil && ctx.Err() == nil {
		r.abandon(wrap(err))
	}
}

// watch adds a filter for jobs' tasks and for the questions of their guests.
func (r *run) watch(ctx context.Context, jobs []*job) error {
	if len(jobs) == 0 {
		return nil
	}
	if r.pc == nil {
		pc, err := property.DefaultCollector(r.c.vc).Create(ctx)
		if err != nil {
			return err
		}
		r.pc, r.version = pc, ""
	}
	spec := types.PropertyFilterSpec{PropSet: []types.PropertySpec{{Type: "Task", PathSet: []string{"info.state", "info.progress", "info.result", "info.error"}}}}
	seen := map[types.ManagedObjectReference]bool{}
	for _, j := range jobs {
		spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: j.task})
		if j.vm.Value == "" || seen[j.vm] {
			continue
		}
		seen[j.vm] = true
		spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: j.vm})
	}
	if len(seen) > 0 {
		spec.PropSet = append(spec.PropSet, types.PropertySpec{Type: "VirtualMachine", PathSet: []string{"runtime.question"}})
	}
	_, err := r.pc.CreateFilter(ctx, types.CreateFilter{Spec: spec})
	return err
}

// step waits for news and deals with it.
func (r *run) step(ctx context.Context) error {
	req := types.WaitForUpdatesEx{This: r.pc.Reference(), Version: r.version,
		Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(r.patience())}}
	res, err := methods.WaitForUpdatesEx(ctx, r.c.vc, &req)
	if err != nil {
		if lostCollector(err) {
			return r.again(ctx, err)
		}
		if isBroken(err) && ctx.Err() == nil {
			return r.reconnect(ctx, err)
		}
		return wrap(err)
	}
	if set := res.Returnval; set != nil {
		r.version = set.Version
		for _, f := range set.FilterSet {
			for _, o := range f.ObjectSet {
				r.update(ctx, o)
			}
		}
	}
	r.expire(ctx)
	if why := r.unsaid; why != nil { // a new collector tells again what is asked
		r.unsaid = nil
		return r.reconnect(ctx, why)
	}
	return nil
}

// lostCollector says whether the session, and the collector with it, ended
// while tasks ran. The tasks go on without it.
func lostCollector(err error) bool {
	if errors.Is(wrap(err), vm.ErrNotFound) {
		return true
	}
	return isNotAuthenticated(err)
}

// reconnect goes on where the connection broke, if the host is back soon: its
// agent may have been restarted, or something on the way has.
func (r *run) reconnect(ctx context.Context, err error) error {
	for why := err; ; {
		select {
		case <-time.After(time.Duration(r.losses+1) * r.c.breath):
		case <-ctx.Done():
			return ctx.Err()
		}
		err = r.again(ctx, why)
		if err == nil || !isBroken(err) || r.losses > maxLosses {
			break
		}
	}
	if err != nil {
		return vm.Errorf(vm.ErrUnreachable, "%s went away while the task ran; what became of it is not known, look again when it is back: %v", r.c.e, err)
	}
	return nil
}

// maxLosses is how many collectors may go away under one batch.
const maxLosses = 5

// again watches what is in flight through a new collector. Where a guest is
// gone guests are left out: the whole collector would fail, and the tasks are
// what counts.
func (r *run) again(ctx context.Context, why error) error {
	if r.losses++; r.losses > maxLosses {
		return wrap(why)
	}
	r.close()
	r.pc = nil
	err := r.watch(ctx, r.running(guestGone(why)))
	if guestGone(err) {
		err = r.watch(ctx, r.running(true))
	}
	return wrap(err)
}

// running are the jobs in flight, from now on without their guests if alone.
func (r *run) running(alone bool) (jobs []*job) {
	for _, j := range r.inflight {
		if alone {
			j.vm = types.ManagedObjectReference{}
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// guestGone says whether what a request named and is not there is a guest, and
// not what the session has lost.
func guestGone(err error) bool {
	if !soap.IsSoapFault(err) {
		return false
	}
	f, ok := soap.ToSoapFault(err).VimFault().(types.ManagedObjectNotFound)
	return ok && f.Obj.Type == "VirtualMachine"
}

// patience is how long to wait for news: until the next deadline, half a
// minute at most.
func (r *run) patience() int32 {
	wait := 30 * time.Second
	for _, j := range r.inflight {
		wait = min(wait, time.Until(j.deadline))
	}
	return int32(max(1, (wait+time.Second-1)/time.Second))
}

func (r *run) update(ctx context.Context, o types.ObjectUpdate) {
	if o.Obj.Type == "VirtualMachine" {
		for _, ch := range o.ChangeSet {
			if q, ok := ch.Val.(types.VirtualMachineQuestionInfo); ok {
				r.question(ctx, o.Obj, question(&q))
			}
		}
		return
	}
	j := r.inflight[o.Obj]
	if j == nil {
		return
	}
	var state types.TaskInfoState
	var result types.AnyType
	var taskErr error
	for _, ch := range o.ChangeSet {
		switch v := ch.Val.(type) {
		case types.TaskInfoState:
			state = v
		case int32:
			if ch.Name == "info.progress" && j.progress != nil {
				j.progress(int(v))
			}
		case types.LocalizedMethodFault:
			taskErr = localized(&v)
			if j.keep != nil {
				j.keep(v.Fault)
			}
		default:
			if ch.Name == "info.result" {
				result = v
			}
		}
	}
	switch state {
	case types.TaskInfoStateSuccess:
		r.finish(j, result, nil)
	case types.TaskInfoStateError:
		if taskErr == nil {
			taskErr = errors.New("the task failed and does not say why")
		}
		r.finish(j, nil, taskErr)
	}
}

func (r *run) finish(j *job, result types.AnyType, err error) {
	delete(r.inflight, j.task)
	delete(r.byVM, j.vm)
	if j.answer != nil {
		err = j.answer // what the operator needs to know is the question
	}
	j.end(result, err)
}

func (j *job) end(result types.AnyType, err error) {
	if j.over {
		return
	}
	j.over = true
	j.done(result, err)
}

// question answers what a guest asks, as the policy of its task says.
func (r *run) question(ctx context.Context, ref types.ManagedObjectReference, q *vm.Question) {
	for _, j := range r.byVM[ref] {
		if j.asked == q.ID {
			continue
		}
		j.asked = q.ID
		key, err := j.policy.Answer(*q)
		j.answer = err
		if key == "" {
			r.cancel(j)
			r.finish(j, nil, err)
			continue
		}
		req := types.AnswerVM{This: ref, QuestionId: q.ID, AnswerChoice: key}
		switch _, err := methods.AnswerVM(ctx, r.c.vc, &req); {
		case err == nil:
		case isBroken(err):
			j.asked, r.unsaid = "", err
		default:
			j.answer = wrap(err)
		}
	}
}

func question(q *types.VirtualMachineQuestionInfo) *vm.Question {
	out := &vm.Question{ID: q.Id, Text: q.Text, Default: -1}
	for _, c := range q.Choice.ChoiceInfo {
		d := c.GetElementDescription()
		out.Choices = append(out.Choices, vm.Choice{Key: d.Key, Label: d.Summary})
	}
	if n := int(q.Choice.DefaultIndex); n < len(out.Choices) {
		out.Default = n
	}
	return out
}

// expire gives up on tasks that take too long.
func (r *run) expire(ctx context.Context) {
	for _, j := range r.inflight {
		if time.Now().Before(j.deadline) {
			continue
		}
		r.cancel(j)
		wait := j.policy.Deadline
		if wait == 0 {
			wait = vm.DefaultDeadline
		}
		r.finish(j, nil, vm.Errorf(context.DeadlineExceeded, "the task did not end within %s and was cancelled", wait))
	}
}

// abandon cancels every task that runs and reports err for all jobs.
func (r *run) abandon(err error) {
	if !errors.Is(err, vm.ErrUnreachable) {
		var wg sync.WaitGroup
		for _, j := range r.inflight {
			wg.Go(func() { r.cancel(j) })
		}
		wg.Wait()
	}
	for _, j := range r.inflight {
		r.finish(j, nil, err)
	}
	for _, j := range r.waiting {
		j.end(nil, err)
	}
	r.waiting = nil
}

// cancel asks the host to stop a task, whatever became of our own context.
func (r *run) cancel(j *job) {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	methods.CancelTask(ctx, r.c.vc, &types.CancelTask{This: j.task})
}

func (r *run) close() {
	if r.pc == nil {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	r.pc.Destroy(ctx)
}
