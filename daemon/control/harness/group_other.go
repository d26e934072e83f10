//go:build !unix

package harness

import "syscall"

func procAttr(uint32) *syscall.SysProcAttr { return nil }
