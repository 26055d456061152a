package command

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/pflag"

	"margay/provision/api"
	"margay/provision/bmc"
)

var rconsCmd = &Command{
	Name:  "rcons",
	Usage: "node",
	Short: "open a machine's serial console",
	Long: `Open a machine's serial console: through its management controller (serial over
LAN), or of a guest the serial port that chvm --serial on gave it. ctrl-e c . leaves it, ctrl-e c ? says what else there is. Several may
watch and type at a time; what the machine says is logged. A console that is
lost because the controller restarts is opened again.`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("spy", "s", false, "watch; type nothing")
	},
	Run: rcons,
}

func rcons(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if len(nodes) != 1 || len(words) != 0 {
		return Usagef("one node is wanted")
	}
	if nodes[0].Mgt == "esx" {
		return s.guestConsole(ctx, nodes[0].Name)
	}
	targets := s.metalOnly(snap, nodes)
	if len(targets) == 0 {
		return nil
	}
	if s.Hardware == nil || s.Hardware.Consoles == nil {
		return errors.New("this daemon opens no consoles")
	}
	node := targets[0].Node
	w, err := s.Hardware.Consoles.Attach(ctx, node)
	if err != nil {
		s.NodeError(node, bmc.Brief(err))
		return nil
	}
	defer func() { _ = w.Close() }()
	defer context.AfterFunc(ctx, func() { _ = w.Close() })()
	return s.watch(w, s.Bool("spy"))
}

// watch joins a terminal and a console until the keyboard leaves or the
// console ends.
func (s *Session) watch(w io.ReadWriteCloser, spy bool) error {
	s.Conn.Send(api.Frame{Kind: api.FrameTerminal, Code: 1})
	s.ErrLine("[Enter `^Ec?' for help]")
	s.Flush()
	defer func() {
		s.Conn.Send(api.Frame{Kind: api.FrameTerminal, Code: 0})
		s.Flush()
	}()
	go func() {
		defer func() { _ = w.Close() }()
		s.keys(w, spy)
	}()
	buf := make([]byte, 4096)
	for {
		n, err := w.Read(buf)
		s.Text(string(buf[:n]))
		if n > 0 && s.Conn.Flush() != nil || err != nil {
			return nil //nolint:nilerr // the client or the console has gone, which ends it
		}
	}
}

// keys passes on what is typed, until the way out is.
func (s *Session) keys(w io.Writer, spy bool) {
	var e escape
	buf := make([]byte, 1024)
	for {
		n, err := s.Conn.Read(buf)
		out, what := e.feed(buf[:n])
		if len(out) > 0 && !spy {
			if _, err := w.Write(out); err != nil {
				return
			}
		}
		switch what {
		case escapeLeave:
			return
		case escapeHelp:
			s.Text("\r\n[ .  leave   ?  this help   ^E  send ctrl-e ]\r\n")
			s.Flush()
		}
		if err != nil {
			time.Sleep(linger) // keys from a pipe: see what they came to
			return
		}
	}
}

// linger is how long a console is watched after the last key of a pipe.
const linger = 2 * time.Second

// An escape follows what is typed for ctrl-e c and the key behind it, as
// conserver has it.
type escape struct{ seen int }

const (
	ctrlE = 0x05

	escapeNone  = 0
	escapeLeave = '.'
	escapeHelp  = '?'
)

// feed returns what goes to the machine, and the first thing that is asked of
// us; what was typed after it waits for nobody.
func (e *escape) feed(keys []byte) (out []byte, what int) {
	for _, k := range keys {
		switch e.seen {
		case 0:
			if k == ctrlE {
				e.seen = 1
				continue
			}
			out = append(out, k)
		case 1:
			if k == 'c' {
				e.seen = 2
				continue
			}
			e.seen = 0
			if k != ctrlE { // ctrl-e twice sends one
				out = append(out, ctrlE)
			}
			out = append(out, k)
		case 2:
			e.seen = 0
			switch k {
			case '.':
				return out, escapeLeave
			case '?':
				what = escapeHelp
			case ctrlE:
				out = append(out, ctrlE)
			default:
				out = append(out, ctrlE, 'c', k)
			}
		}
	}
	return out, what
}
