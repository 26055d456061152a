// Package api carries commands to the daemon and their output back: words in,
// frames out, over a unix socket or TLS. It knows no command.
package api

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Request is a command as it was typed.
type Request struct {
	Args  []string          `json:"args"`            // the command's name first
	Dir   string            `json:"dir"`             // the client's working directory, absolute
	Env   map[string]string `json:"env,omitempty"`   // those of EnvNames that are set
	TTY   bool              `json:"tty,omitempty"`   // standard output is a terminal
	Width int               `json:"width,omitempty"` // its columns
	JSON  bool              `json:"json,omitempty"`  // lines come as the frames they are, not as text

	// Set by the server, never taken from the wire.
	User string `json:"-"` // who asks: a user's name, or the subject of a certificate
	From string `json:"-"` // from where: "unix", or an address
}

// EnvNames are the environment variables that a client passes on.
var EnvNames = []string{"XCAT_NODE_PREFIX", "XCAT_NODE_SUFFIX", "XCATPSHFANOUT", "DSH_FANOUT", "DSH_TIMEOUT", "DSH_NODE_OPTS", "DSH_REMOTE_PASSWORD", "TERM"}

// A FrameKind says what a frame is.
type FrameKind string

// The frames that the server sends. An exit frame is the last.
const (
	FrameOut      FrameKind = "out"      // to standard output
	FrameErr      FrameKind = "err"      // to standard error
	FrameRaw      FrameKind = "raw"      // to standard output as it is, no newline added
	FrameProgress FrameKind = "progress" // replaces the terminal's current line
	FrameStdin    FrameKind = "stdin"    // the command wants standard input; client answers with data
	FrameTerminal FrameKind = "terminal" // put the terminal into raw mode (Code 1) or back (0)
	FrameExit     FrameKind = "exit"     // Code is the exit status
)

// A Frame is one piece of output. Level is "Error" or "Warning" or empty;
// Node and Label stand before Text, as xCAT prints them.
type Frame struct {
	Kind  FrameKind `json:"k"`
	Node  string    `json:"node,omitempty"`
	Level string    `json:"level,omitempty"`
	Label string    `json:"label,omitempty"`
	Text  string    `json:"text,omitempty"`
	Code  int       `json:"code,omitempty"`
}

// Line is the frame as xCAT prints it, without newline.
func (f Frame) Line() string { return string(f.appendLine(nil)) }

func (f Frame) appendLine(b []byte) []byte {
	for _, part := range []string{f.Node, f.Level, f.Label} {
		if part != "" {
			b = append(append(b, part...), ": "...)
		}
	}
	return append(b, f.Text...)
}

// input is what a client sends after its request.
type input struct {
	Data []byte `json:"data,omitempty"`
	EOF  bool   `json:"eof,omitempty"`
}

// maxLine bounds one JSON line from a client: a request, or 64 KiB of input.
const maxLine = 4 << 20

// A Conn is the server's end of one command. Its methods may be called from
// several goroutines.
type Conn struct {
	mu     sync.Mutex // guards w, out, text, later, armed, slow and err
	w      io.Writer
	out    []byte      // frames that are to be written
	text   []byte      // lines that go out together in one frame, behind out
	frames bool        // lines go out as the frames they are
	slow   bool        // the command has gone on for a while: what is queued is to be seen
	later  *time.Timer // flushes what is queued; nil: nothing was yet
	armed  bool        // later runs
	err    error

	turn  *turn // nil: it has none
	once  sync.Once
	input clientInput
}

// blockSize is how much is queued before it is written.
const blockSize = 64 << 10

// buffers are memory for what is queued.
var buffers = sync.Pool{New: func() any { return new([2][]byte) }}

// newConn makes the command's end of a connection. The bytes first go before
// all frames.
func newConn(w io.Writer, frames bool, first []byte) *Conn {
	b := buffers.Get().(*[2][]byte)
	return &Conn{w: w, frames: frames, out: append(b[0][:0], first...), text: b[1][:0]}
}

// Yield says that the command is going to wait, as for the disk: another may
// have its turn.
func (c *Conn) Yield() {
	if c != nil {
		c.turn.end()
	}
}

// attend sees to the client of a command that takes a while: that he is shown
// what there is, and that his going away is noticed.
func (c *Conn) attend() {
	c.input.listen()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slow = true; c.err == nil && len(c.out)+len(c.text) > 0 {
		c.soon()
	}
}

// Send queues a frame; Flush sends what is queued. The error is the first that
// the connection met: the client has gone. Where there is much to send, others
// may have their turns in between.
func (c *Conn) Send(f Frame) error {
	wrote, err := c.send(f)
	if wrote {
		c.turn.rest()
	}
	return err
}

// send queues a frame. wrote: that was a block, which is written.
func (c *Conn) send(f Frame) (wrote bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false, c.err
	}
	// A frame a line costs both ends more than most commands do.
	switch {
	case c.frames:
		c.out = appendFrame(c.out, f)
	case f.Kind == FrameOut:
		c.text = append(f.appendLine(c.text), '\n')
	case f.Kind == FrameRaw && len(c.text)+len(f.Text) < blockSize/16:
		c.text = append(c.text, f.Text...)
	default:
		c.gather()
		c.out = appendFrame(c.out, f)
	}
	if len(c.out)+len(c.text) >= blockSize {
		return true, c.write()
	}
	if c.slow {
		c.soon()
	}
	return false, nil
}

// flushWait is how long a line is queued at most, so that a slow command's are
// seen as they come and a fast one's go out together.
const flushWait = 100 * time.Millisecond

// soon has what is queued sent within flushWait.
func (c *Conn) soon() {
	switch {
	case c.armed:
		return
	case c.later == nil:
		c.later = time.AfterFunc(flushWait, func() { c.Flush() })
	default:
		c.later.Reset(flushWait)
	}
	c.armed = true
}

// gather makes a frame of the lines that wait.
func (c *Conn) gather() {
	if len(c.text) > 0 {
		c.out = appendRaw(c.out, c.text)
		c.text = c.text[:0]
	}
}

func (c *Conn) write() error {
	c.gather()
	if c.err == nil && len(c.out) > 0 {
		_, c.err = c.w.Write(c.out)
		c.out = c.out[:0]
	}
	return c.err
}

// Flush sends what is queued.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	return c.write()
}

// end sends what is queued; nothing comes after it.
func (c *Conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write()
	if c.later != nil {
		c.later.Stop()
	}
	if cap(c.out)+cap(c.text) <= 4*blockSize {
		buffers.Put(&[2][]byte{c.out, c.text})
	}
	c.out, c.text = nil, nil
	if c.err == nil {
		c.err = errEnded
	}
}

var errEnded = errors.New("the command has ended")

// Read reads the client's standard input. The client is asked for it at the
// first call, so a command that wants none never waits for any.
func (c *Conn) Read(p []byte) (int, error) {
	c.Yield()
	in := c.input.listen()
	if in == nil {
		return 0, io.EOF
	}
	c.once.Do(func() {
		c.Send(Frame{Kind: FrameStdin})
		c.Flush()
	})
	return in.Read(p)
}

// An Error is what the server answers in place of running the command.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (HTTP %d)", e.Text, e.Status) }
