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
	conn, err := c.dial(ctx)
	if err != nil {
		return 1, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ask := *req
	ask.JSON = c.JSON
	in, err := c.upgrade(conn, &ask)
	switch {
	case ctx.Err() != nil:
		return 130, nil
	case err != nil:
		return 1, err
	}
	p := &printer{out: bufio.NewWriterSize(stdout, 16<<10), err: stderr, json: c.JSON, tty: req.TTY}
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

// upgrade asks to be heard and sends the command: over a unix socket at once,
// behind the request, since the daemon there is heard anyway and a turn less is
// a fifth of a short command. A remote server hears the command, which may have
// secrets, when it has said that this client may give it.
func (c *Client) upgrade(conn net.Conn, ask *Request) (*bufio.Reader, error) {
	var b bytes.Buffer
	b.WriteString("POST /run HTTP/1.1\r\nHost: margay\r\nConnection: Upgrade\r\nUpgrade: margay\r\nContent-Length: 0\r\n")
	c.Header.Write(&b)
	b.WriteString("\r\n")
	head := b.Len()
	if err := json.NewEncoder(&b).Encode(ask); err != nil {
		return nil, err
	}
	now := b.Len()
	if c.Dial != nil {
		now = head
	}
	// Who refuses need not have read all of it: what he says counts.
	_, sendErr := conn.Write(b.Next(now))
	in := bufio.NewReaderSize(conn, 16<<10)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, cmp.Or(sendErr, err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if b.Len() > 0 {
			_, err = conn.Write(b.Bytes())
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
