package netboottest

import (
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WithoutSegment runs fn on a thread for which the kernel knows no UDP_SEGMENT,
// as none before Linux 4.18 does: a filter of its calls (seccomp(2)) answers so.
// The test is skipped where there may be no such filter.
func WithoutSegment(tb testing.TB, fn func()) {
	tb.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := refuseSegment()
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		tb.Skipf("calls cannot be filtered: %v", err)
	}
}

// refuseSegment has getsockopt(SOL_UDP, UDP_SEGMENT) fail on this thread.
func refuseSegment() error {
	const number, level, name = 0, 24, 32 // of seccomp_data: nr, args[1], args[2]
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	differs := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	end := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	prog := []unix.SockFilter{
		load(number), differs(unix.SYS_GETSOCKOPT, 5),
		load(level), differs(unix.SOL_UDP, 3),
		load(name), differs(unix.UDP_SEGMENT, 1),
		end(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)),
		end(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0)
}
