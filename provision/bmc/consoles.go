package bmc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Consoles keeps one console open for each node that is watched, for any
// number of watchers, and logs what the machine says to Dir/NODE.log. A
// console that is lost, because its BMC restarts for instance, is opened again
// while anybody watches.
type Consoles struct {
	// Dir is where logs go; empty: nowhere.
	Dir string
	// Open opens a node's console.
	Open func(ctx context.Context, node string) (io.ReadWriteCloser, error)

	mu    sync.Mutex // guards nodes
	nodes map[string]*console
}

const (
	replaySize  = 8 << 10   // what a new watcher is shown of what was said before
	watcherSize = 256 << 10 // what waits for a slow watcher; then it loses the oldest
	logSize     = 16 << 20  // then the log is put aside as NODE.log.1
	reopenFirst = time.Second
	reopenMost  = 30 * time.Second
)

// Attach joins a node's console, opening it if nobody watches yet. The first
// watcher is told why it cannot be opened; the caller closes what it gets.
func (c *Consoles) Attach(ctx context.Context, node string) (io.ReadWriteCloser, error) {
	if node == "" || strings.ContainsAny(node, `/\`) || strings.HasPrefix(node, ".") {
		return nil, fmt.Errorf("console: %q is no node", node)
	}
	for {
		n, fresh := c.node(node)
		if fresh {
			go n.tend()
		}
		select {
		case <-n.opened:
		case <-ctx.Done():
			c.leave(n, nil)
			return nil, context.Cause(ctx)
		}
		if n.failed != nil {
			c.leave(n, nil)
			return nil, n.failed
		}
		if w := n.join(); w != nil {
			return w, nil
		}
		c.leave(n, nil) // it was just being given up: begin anew
	}
}

// node returns a node's console, counting one watcher more.
func (c *Consoles) node(name string) (n *console, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[name]; n != nil {
		n.users++
		return n, false
	}
	ctx, cancel := context.WithCancel(context.Background())
	n = &console{c: c, name: name, users: 1, ctx: ctx, cancel: cancel, opened: make(chan struct{}), watchers: map[*watcher]bool{}}
	if c.nodes == nil {
		c.nodes = map[string]*console{}
	}
	c.nodes[name] = n
	return n, true
}

// leave takes a watcher off; the last one closes the console.
func (c *Consoles) leave(n *console, w *watcher) {
	n.part(w)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.users--; n.users == 0 {
		n.cancel()
		if c.nodes[n.name] == n {
			delete(c.nodes, n.name)
		}
	}
}

// Close closes all consoles; their watchers find the end.
func (c *Consoles) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		n.cancel()
	}
	c.nodes = nil
}

// A console is one node's.
type console struct {
	c      *Consoles
	name   string
	users  int             // guarded by c.mu
	ctx    context.Context //nolint:containedctx // the console's own life
	cancel context.CancelFunc
	opened chan struct{} // closed when the first opening has come to something
	failed error         // set before opened is closed

	mu       sync.Mutex // guards what follows
	line     io.ReadWriteCloser
	watchers map[*watcher]bool
	recent   []byte
	ended    bool
}

// tend opens the console, passes on what it says, and opens it again when it
// is lost.
func (n *console) tend() {
	defer n.end()
	log := n.openLog()
	defer func() { _ = log.Close() }()
	pause, first := reopenFirst, true
	for n.ctx.Err() == nil {
		line, err := n.c.Open(n.ctx, n.name)
		if err == nil {
			n.setLine(line) // before anybody types
		}
		if first {
			first = false
			n.failed = err
			close(n.opened)
			if err != nil {
				return
			}
		}
		if err == nil {
			pause = reopenFirst
			err = n.pump(line, log)
		}
		if n.ctx.Err() != nil || permanent(err) {
			n.say(log, fmt.Sprintf("\r\n[margay: console of %s ended: %v]\r\n", n.name, err))
			return
		}
		n.say(log, fmt.Sprintf("\r\n[margay: console of %s lost: %v; trying again]\r\n", n.name, err))
		Sleep(n.ctx, pause)
		pause = min(2*pause, reopenMost)
	}
}

// permanent says that trying again would only lock the account, or help
// nobody.
func permanent(err error) bool {
	return errors.Is(err, ErrPassword) || errors.Is(err, ErrUser) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrPin)
}

// pump reads the console until it ends.
func (n *console) pump(line io.ReadWriteCloser, log io.Writer) error {
	defer context.AfterFunc(n.ctx, func() { _ = line.Close() })()
	defer func() {
		n.setLine(nil)
		_ = line.Close()
	}()
	buf := make([]byte, 4096)
	for {
		k, err := line.Read(buf)
		if k > 0 {
			_, _ = log.Write(buf[:k])
			n.spread(buf[:k])
		}
		if err != nil {
			return err
		}
	}
}

func (n *console) setLine(line io.ReadWriteCloser) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.line = line
}

func (n *console) say(log io.Writer, text string) {
	_, _ = io.WriteString(log, text)
	n.spread([]byte(text))
}

func (n *console) spread(b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recent = append(n.recent, b...)
	n.recent = n.recent[max(0, len(n.recent)-replaySize):]
	for w := range n.watchers {
		w.give(b)
	}
}

// join adds a watcher; nil if the console has ended meanwhile.
func (n *console) join() *watcher {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil
	}
	w := &watcher{n: n}
	w.cond = sync.NewCond(&w.mu)
	w.give(n.recent)
	n.watchers[w] = true
	return w
}

func (n *console) part(w *watcher) {
	if w == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.watchers, w)
}

func (n *console) end() {
	n.c.forget(n)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
	for w := range n.watchers {
		w.finish()
	}
}

// forget has the next watcher begin anew.
func (c *Consoles) forget(n *console) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[n.name] == n {
		delete(c.nodes, n.name)
	}
}

// write passes keys on. While the console is lost they are, too: what was
// meant for a prompt must not reach whatever comes up later.
func (n *console) write(p []byte) (int, error) {
	n.mu.Lock()
	line := n.line
	n.mu.Unlock()
	if line == nil {
		return len(p), nil
	}
	if _, err := line.Write(p); err != nil {
		return len(p), nil //nolint:nilerr // pump finds out and tells
	}
	return len(p), nil
}

// openLog opens the node's log; a console without one is still a console.
func (n *console) openLog() io.WriteCloser {
	if n.c.Dir == "" {
		return nowhere{}
	}
	path := filepath.Join(n.c.Dir, n.name+".log")
	if err := os.MkdirAll(n.c.Dir, 0o700); err != nil {
		return nowhere{}
	}
	if st, err := os.Stat(path); err == nil && st.Size() > logSize {
		_ = os.Rename(path, path+".1")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the name has no slash
	if err != nil {
		return nowhere{}
	}
	return f
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }

// A watcher is one reader of a console, and one who may type.
type watcher struct {
	n *console

	mu   sync.Mutex // guards what follows
	cond *sync.Cond
	buf  []byte
	done bool
	left bool
}

// Read returns what the machine said. After the console has ended it returns
// what is left, then io.EOF.
func (w *watcher) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) == 0 {
		if w.done {
			return 0, io.EOF
		}
		w.cond.Wait()
	}
	k := copy(p, w.buf)
	w.buf = w.buf[k:]
	return k, nil
}

// Write types.
func (w *watcher) Write(p []byte) (int, error) { return w.n.write(p) }

// Close leaves the console; the last to leave closes it.
func (w *watcher) Close() error {
	w.mu.Lock()
	left := w.left
	w.left, w.done = true, true
	w.cond.Broadcast()
	w.mu.Unlock()
	if !left {
		w.n.c.leave(w.n, w)
	}
	return nil
}

func (w *watcher) give(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, b...)
	if len(w.buf) > watcherSize {
		w.buf = append([]byte(nil), w.buf[len(w.buf)-watcherSize:]...)
	}
	w.cond.Broadcast()
}

func (w *watcher) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	w.cond.Broadcast()
}
