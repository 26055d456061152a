package bmctest

import (
	"fmt"
	"os/exec"
	"sync"

	"margay/provision/bmc"
)

// A Process is a machine that is a process: qemu, say. It is a Hook.
type Process struct {
	// Command makes the process for a boot.
	Command func(b bmc.Boot, media string) (*exec.Cmd, error)
	// Start starts it; nil: as exec does.
	Start func(*exec.Cmd) error
	// Ended is called when the machine has ended without being switched off;
	// it may be Host.Stopped. May be nil.
	Ended func()

	mu   sync.Mutex // guards what follows
	cmd  *exec.Cmd
	done chan struct{}
}

// PowerOn starts the process.
func (p *Process) PowerOn(b bmc.Boot, media string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("machine runs already")
	}
	cmd, err := p.Command(b, media)
	if err != nil {
		return err
	}
	start := p.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	if err := start(cmd); err != nil {
		return err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait()
		p.mu.Lock()
		alone := p.cmd == cmd
		if alone {
			p.cmd = nil
		}
		p.mu.Unlock()
		if alone && p.Ended != nil {
			p.Ended()
		}
	}()
	return nil
}

// PowerOff kills the process and returns when it has gone.
func (p *Process) PowerOff() error {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Kill()
	<-done
	return nil
}
