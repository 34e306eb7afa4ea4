package follower

import (
	"syscall"
	"time"
	"unsafe"
)

// now returns the time since the machine started. Unlike the monotonic time of package time, it advances while the machine sleeps.
func now() time.Duration {
	const clockBoottime = 7
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		panic("the system has no CLOCK_BOOTTIME: " + errno.Error())
	}
	return time.Duration(t.Nano())
}
