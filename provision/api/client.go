package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// A Client runs commands in a daemon.
type Client struct {
	Socket string                                      // path of its unix socket
	Dial   func(ctx context.Context) (net.Conn, error) // in place of Socket
	Header http.Header                                 // sent along; may be nil
	JSON   bool                                        // print frames as JSON lines
	Raw    func(on bool)                               // puts the terminal into raw mode; may be nil
}

// ErrNoDaemon says that nobody answers at the socket.
var ErrNoDaemon = errors.New("no daemon")

// Run runs one command: its output goes to stdout and stderr, and stdin is
// read only if the command asks for it. It returns the command's exit status.
func (c *Client) Run(ctx context.Context, req *Request, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	ask := *req
	ask.JSON = c.JSON
	first, then, err := c.words(&ask)
	if err != nil {
		return 1, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return 1, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in, err := upgrade(conn, first, then)
	switch {
	case ctx.Err() != nil:
		return 130, nil
	case err != nil:
		return 1, err
	}
	p := &printer{out: bufio.NewWriterSize(stdout, 4<<10), err: stderr, json: c.JSON, tty: req.TTY}
	code, err := c.frames(in, conn, stdin, p)
	p.out.Flush()
	if ctx.Err() != nil {
		return 130, nil
	}
	return code, err
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	if c.Dial != nil {
		return c.Dial(ctx)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return nil, fmt.Errorf("%w at %s; start it with margay serve, or name its socket with --socket or MARGAY_SOCKET", ErrNoDaemon, c.Socket)
	}
	return conn, nil
}

// words are what is sent: first, and then when that was heard. Over a unix
// socket that is all at once, since the daemon there is heard anyway and a turn
// less is a fifth of a short command. A remote server hears the command, which
// may have secrets, when it has said that this client may give it.
func (c *Client) words(ask *Request) (first, then []byte, err error) {
	var b bytes.Buffer
	b.WriteString(strings.TrimSuffix(hello, "\r\n"))
	c.Header.Write(&b)
	b.WriteString("\r\n")
	head := b.Len()
	if err := json.NewEncoder(&b).Encode(ask); err != nil {
		return nil, nil, err
	}
	if c.Dial == nil {
		head = b.Len()
	}
	return b.Bytes()[:head], b.Bytes()[head:], nil
}

// upgrade asks to be heard and sends the command.
func upgrade(conn net.Conn, first, then []byte) (*bufio.Reader, error) {
	// Who refuses need not have read all of it: what he says counts.
	_, sendErr := conn.Write(first)
	in := bufio.NewReaderSize(conn, 8<<10)
	if len(then) == 0 { // the daemon has all and says so in these words
		if b, err := in.Peek(len(upgraded)); err == nil && string(b) == upgraded {
			in.Discard(len(upgraded))
			return in, nil
		}
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, cmp.Or(sendErr, err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if len(then) > 0 {
			_, err = conn.Write(then)
		}
		return in, err
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	return nil, &Error{resp.StatusCode, strings.TrimSpace(string(text))}
}

func (c *Client) frames(in *bufio.Reader, conn io.Writer, stdin io.Reader, p *printer) (int, error) {
	var long []byte // memory for lines that are longer than in's
	for {
		f, err := readFrame(in, &long)
		if err != nil {
			return 1, errors.New("the daemon went away before the command ended; what it had answered for is kept, the rest is not done")
		}
		switch f.Kind {
		case FrameExit:
			return f.Code, nil
		case FrameStdin:
			go send(conn, stdin)
		case FrameTerminal:
			if c.Raw != nil {
				c.Raw(f.Code == 1)
			}
		default:
			p.print(f)
			// Show what has come when no more is waiting.
			if in.Buffered() == 0 {
				p.out.Flush()
			}
		}
	}
}

// readFrame reads a line and what it says.
func readFrame(in *bufio.Reader, long *[]byte) (Frame, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		*long = (*long)[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			*long = append(*long, line...)
			line, err = in.ReadSlice('\n')
		}
		*long = append(*long, line...)
		line = *long
	}
	if err != nil {
		return Frame{}, err
	}
	if f, ok := parseFrame(line[:len(line)-1]); ok {
		return f, nil
	}
	var f Frame
	err = json.Unmarshal(line, &f)
	return f, err
}

// send ships standard input in pieces.
func send(w io.Writer, stdin io.Reader) {
	enc := json.NewEncoder(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := stdin.Read(buf)
		if n > 0 && enc.Encode(input{Data: buf[:n]}) != nil {
			return
		}
		if err != nil {
			enc.Encode(input{EOF: true})
			return
		}
	}
}

type printer struct {
	out      *bufio.Writer
	err      io.Writer
	json     bool
	tty      bool
	progress bool // the terminal's line holds progress text
}

func (p *printer) print(f Frame) {
	if p.json && f.Kind != FrameProgress {
		b, _ := json.Marshal(f)
		p.out.Write(append(b, '\n'))
		return
	}
	if f.Kind == FrameProgress {
		if p.tty && !p.json {
			fmt.Fprintf(p.out, "\r%s\x1b[K", f.Text)
			p.progress = true
		}
		return
	}
	if p.progress {
		io.WriteString(p.out, "\r\x1b[K")
		p.progress = false
	}
	switch f.Kind {
	case FrameErr:
		p.out.Flush()
		io.WriteString(p.err, f.Line()+"\n")
	case FrameRaw:
		p.out.WriteString(f.Text)
	default:
		p.out.WriteString(f.Line())
		p.out.WriteByte('\n')
	}
}
