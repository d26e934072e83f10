//go:build !unix

package harness

import "syscall"

func ownGroup() *syscall.SysProcAttr { return nil }
