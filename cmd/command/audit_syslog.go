package command

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// A sysLog tells this machine's syslog of commands, at xCAT's facility and in
// its words. Where there is no syslog nothing is told. It belongs to one
// goroutine, which it does not hold up: what syslog does not take is left out.
type sysLog struct {
	path  string // of its socket
	conn  net.Conn
	tried time.Time
}

// syslogSocket is where Linux's syslog listens.
const syslogSocket = "/dev/log"

// How long a syslog that was not there is not looked for, and how long one has
// to take some lines.
const (
	syslogAgain = 10 * time.Second
	syslogTakes = time.Second
)

// facility local4, severity informational (RFC 3164, 4.1.1)
const syslogPriority = 20<<3 | 6

// tell sends lines.
func (l *sysLog) tell(lines []string) {
	if len(lines) == 0 || !l.ready() {
		return
	}
	l.conn.SetWriteDeadline(time.Now().Add(syslogTakes))
	for _, line := range lines {
		line = strings.Map(printable, line)
		_, err := fmt.Fprintf(l.conn, "<%d>%s xCAT[%d]: %s", syslogPriority, time.Now().Format(time.Stamp), os.Getpid(), line)
		if err != nil {
			l.conn.Close()
			l.conn = nil
			return
		}
	}
}

func (l *sysLog) ready() bool {
	if l.conn != nil {
		return true
	}
	if time.Since(l.tried) < syslogAgain {
		return false
	}
	l.tried = time.Now()
	conn, err := net.Dial("unixgram", l.path)
	if err != nil {
		return false
	}
	l.conn = conn
	return true
}

// printable keeps what is typed from looking like further lines.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// line is what syslog is told of a command.
func (row auditRow) line(host string) string {
	text := "xCAT: Allowing " + row.command
	if row.result == auditDenied {
		text = "xCAT: Denying a command"
	}
	if row.noderange != "" {
		text += " to " + row.noderange
	}
	if row.args != "" {
		text += " " + row.args
	}
	return text + " for " + row.user + " from " + row.client(host)
}
