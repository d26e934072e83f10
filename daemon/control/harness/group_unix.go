//go:build unix

package harness

import "syscall"

// procAttr puts a process into a group of its own, and runs it as uid if that is
// not 0.
func procAttr(uid uint32) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if uid != 0 {
		a.Credential = &syscall.Credential{Uid: uid, Gid: uid, NoSetGroups: true}
	}
	return a
}
