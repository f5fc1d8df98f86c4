package child

import "syscall"

// attributes let the child end with us, even when we are killed, and when it is
// stopped and would hear of no other signal.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
