//go:build linux && (amd64 || arm64)

// Package sandbox takes from the running process, for good, everything that
// computing does not need.
package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Enter puts the whole process into the sandbox and limits its memory, in
// bytes. From here on the process can open no file, reach no network and start no program:
// of the kernel it may use only what the Go runtime and its two pipes need.
// It needs no privileges.
func Enter(memory int64) error {
	if err := limitMemory(memory); err != nil {
		return fmt.Errorf("limiting memory: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	prog := filter(uint32(os.Getpid()))
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	// TSYNC puts all threads under the filter. It returns the id of a thread
	// that could not be.
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("setting the system call filter (seccomp): %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("setting the system call filter (seccomp): thread %d could not be put under it", thread)
	}
	return nil
}

// runtimeOverhead is what a Go process maps beyond its live heap: the heap
// grows in steps of 64 MiB, and stacks and metadata come on top.
const runtimeOverhead = 192 << 20

// limitMemory bounds the private writable memory. What is mapped already does
// not count: under the race detector that is terabytes.
func limitMemory(memory int64) error {
	mapped, err := mappedData()
	if err != nil {
		return err
	}
	limit := uint64(mapped) + uint64(memory) + runtimeOverhead
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit})
}

// mappedData is VmData of this process in bytes.
func mappedData() (int64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, is := strings.CutPrefix(s.Text(), "VmData:"); is {
			var kib int64
			_, err := fmt.Sscanf(strings.TrimSpace(value), "%d kB", &kib)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmData")
}

// allowed are the system calls that a contained child may make: memory,
// threads, signals to itself, time, and reading and writing what is open.
// Every other call, open, socket and execve among them, fails with EPERM.
var allowed = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_CLOSE,
	unix.SYS_FSTAT, unix.SYS_FCNTL, unix.SYS_PPOLL,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_BRK, unix.SYS_MEMBARRIER,
	unix.SYS_FUTEX, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETPID, unix.SYS_GETTID,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_GETRANDOM, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// Offsets in the kernel's struct seccomp_data.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArg0 = 16 // its lower half: both architectures are little-endian
)

// filter is the seccomp program: threads may be cloned, but no processes, and
// signals go to this process only.
func filter(pid uint32) []unix.SockFilter {
	const refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	prog := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, arch, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall),
		// glibc tries clone3 first, and falls back to clone if there is none.
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
		load(offsetArg0),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1),
		ret(unix.SECCOMP_RET_ALLOW),
		ret(refuse),
		jump(unix.BPF_JEQ, unix.SYS_TGKILL, 0, 4),
		load(offsetArg0),
		jump(unix.BPF_JEQ, pid, 0, 1),
		ret(unix.SECCOMP_RET_ALLOW),
		ret(refuse),
	}
	for _, call := range slices.Compact(slices.Sorted(slices.Values(allowed))) {
		prog = append(prog, jump(unix.BPF_JEQ, call, 0, 1), ret(unix.SECCOMP_RET_ALLOW))
	}
	return append(prog, ret(refuse))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}
