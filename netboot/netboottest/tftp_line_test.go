package netboottest

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// A line is a cable between two hosts that may lose, delay, double and reorder
// what passes. Not every kernel has netem; this needs tap devices only.
type line struct {
	delay   time.Duration // one way
	jitter  time.Duration // added at random, so that frames overtake one another
	loss    float64       // of 1
	doubles float64       // of 1
}

// connect plugs the ends in as eth0 of two new hosts with an address each.
func (l line) connect(t testing.TB, addrA, addrB string) (a, b *Host) {
	t.Helper()
	a, b = NewHost(t), NewHost(t)
	endA, endB := tap(t, a, addrA), tap(t, b, addrB)
	t.Cleanup(func() { endA.Close(); endB.Close() })
	go l.carry(endA, endB, 1)
	go l.carry(endB, endA, 2)
	return a, b
}

// tap makes eth0 of h a tap device and returns its other side.
func tap(t testing.TB, h *Host, addr string) *os.File {
	t.Helper()
	var fd int
	var err error
	h.Do(func() {
		if fd, err = openTap("eth0"); err != nil {
			return
		}
		if err = raise("eth0"); err == nil {
			err = address("eth0", []string{addr})
		}
	})
	if err != nil {
		t.Fatalf("tap device: %v", err)
	}
	return os.NewFile(uintptr(fd), "tap")
}

// openTap makes a tap device that lives as long as it is open
// (Documentation/networking/tuntap.rst).
func openTap(name string) (int, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	var req struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], name)
	req.flags = syscall.IFF_TAP | syscall.IFF_NO_PI
	if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&req))); no != 0 {
		syscall.Close(fd)
		return 0, no
	}
	return fd, syscall.SetNonblock(fd, true)
}

// carry moves frames from one end to the other until either is closed.
func (l line) carry(from, to *os.File, seed uint64) {
	q := &queue{to: to, more: make(chan struct{}, 1)}
	go q.deliver()
	defer q.close()
	dice := rand.New(rand.NewPCG(seed, 99))
	buf := make([]byte, 70_000)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if dice.Float64() < l.loss {
			continue
		}
		due := time.Now().Add(l.delay)
		if l.jitter > 0 {
			due = due.Add(time.Duration(dice.Int64N(int64(l.jitter))))
		}
		frame := append([]byte(nil), buf[:n]...)
		q.push(due, frame)
		if dice.Float64() < l.doubles {
			q.push(due, frame)
		}
	}
}

// A queue holds frames until they are due.
type queue struct {
	to   *os.File
	more chan struct{}

	mu     sync.Mutex // guards the rest
	frames frames
	count  int
	closed bool
}

type frame struct {
	due  time.Time
	n    int // frames due at once keep their order
	data []byte
}

type frames []frame

func (f frames) Len() int { return len(f) }
func (f frames) Less(i, j int) bool {
	if f[i].due.Equal(f[j].due) {
		return f[i].n < f[j].n
	}
	return f[i].due.Before(f[j].due)
}
func (f frames) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *frames) Push(x any)   { *f = append(*f, x.(frame)) }
func (f *frames) Pop() any {
	old := *f
	last := old[len(old)-1]
	*f = old[:len(old)-1]
	return last
}

func (q *queue) push(due time.Time, data []byte) {
	q.mu.Lock()
	q.count++
	heap.Push(&q.frames, frame{due, q.count, data})
	q.mu.Unlock()
	q.nudge()
}

func (q *queue) nudge() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.nudge()
}

func (q *queue) deliver() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		data, wait, closed := q.next()
		if closed {
			return
		}
		if data != nil {
			if _, err := q.to.Write(data); errors.Is(err, os.ErrClosed) {
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-q.more:
		}
	}
}

// next is the first frame if it is due, or how long until then.
func (q *queue) next() (data []byte, wait time.Duration, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.frames) == 0 {
		return nil, time.Hour, q.closed
	}
	if wait = time.Until(q.frames[0].due); wait > 0 {
		return nil, wait, false
	}
	return heap.Pop(&q.frames).(frame).data, 0, false
}
