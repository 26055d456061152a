package ssh

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// A wire speaks scp's protocol, which nobody wrote down but rcp's source: a
// record is a line, every record and every file's content is answered by a
// zero byte, or by 1 or 2 and a line of what is wrong.
type wire struct {
	w io.Writer
	r *bufio.Reader
}

func newWire(w io.Writer, r io.Reader) *wire { return &wire{w, bufio.NewReader(r)} }

// A record is one line of the far end's.
type record struct {
	kind byte // C a file, D a directory, E its end, T times for what follows
	mode fs.FileMode
	size int64
	name string
	time time.Time
}

// errCutOff: the far end has gone; its exit status may say why.
var errCutOff = errors.New("cut off")

func isEnd(err error) bool { return errors.Is(err, errCutOff) }

// A complaint is what the far end says is wrong.
type complaint string

func (c complaint) Error() string { return string(c) }

// tell sends a record and waits for the answer.
func (w *wire) tell(format string, args ...any) error {
	if _, err := fmt.Fprintf(w.w, format, args...); err != nil {
		return w.cause(err)
	}
	return w.answer()
}

// ok tells the far end to go on.
func (w *wire) ok() error {
	if _, err := w.w.Write([]byte{0}); err != nil {
		return w.cause(err)
	}
	return nil
}

// cause is why a write failed: the far end says what is wrong, and hangs up.
func (w *wire) cause(err error) error {
	if c := complaint(""); errors.As(w.answer(), &c) {
		return c
	}
	return fmt.Errorf("%w: %v", errCutOff, err)
}

// answer reads an answer.
func (w *wire) answer() error {
	b, err := w.r.ReadByte()
	switch {
	case err != nil:
		return errCutOff
	case b == 0:
		return nil
	case b == 1 || b == 2:
		line, err := w.line()
		if err != nil {
			return errCutOff
		}
		return complaint(strings.TrimPrefix(line, "scp: "))
	}
	return fmt.Errorf("the machine's scp answers %q; does its shell print something when it starts?", b)
}

// maxRecord bounds a line.
const maxRecord = 4096 + 64

func (w *wire) line() (string, error) {
	var b []byte
	for len(b) <= maxRecord {
		c, err := w.r.ReadByte()
		if err != nil {
			return "", errCutOff
		}
		if c == '\n' {
			return string(b), nil
		}
		b = append(b, c)
	}
	return "", errors.New("the machine's scp sends a line without end")
}

// record reads a record, or what is wrong in place of one.
func (w *wire) record() (record, error) {
	b, err := w.r.ReadByte()
	if err != nil {
		return record{}, errCutOff
	}
	if b == 1 || b == 2 {
		w.r.UnreadByte()
		return record{}, w.answer()
	}
	line, err := w.line()
	if err != nil {
		return record{}, err
	}
	return parseRecord(b, line)
}

// parseRecord reads the rest of a record.
func parseRecord(kind byte, line string) (record, error) {
	bad := fmt.Errorf("the machine's scp sends %q, which is no record", clip(string(kind)+line))
	r := record{kind: kind}
	switch kind {
	case 'E':
		return r, nil
	case 'T':
		first, _, _ := strings.Cut(line, " ")
		sec, err := strconv.ParseInt(first, 10, 64)
		if err != nil || sec < 0 || sec > 1<<40 {
			return r, bad
		}
		r.time = time.Unix(sec, 0)
		return r, nil
	case 'C', 'D':
	default:
		return r, bad
	}
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 {
		return r, bad
	}
	mode, err := strconv.ParseUint(f[0], 8, 12)
	size, err2 := strconv.ParseInt(f[1], 10, 64)
	if err != nil || err2 != nil || size < 0 {
		return r, bad
	}
	if f[2] == "" || f[2] == "." || f[2] == ".." || strings.ContainsAny(f[2], "/\x00") {
		return r, fmt.Errorf("the machine's scp sends the name %q, which leads elsewhere", clip(f[2]))
	}
	r.mode, r.size, r.name = fs.FileMode(mode), size, f[2]
	return r, nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
