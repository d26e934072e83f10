package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func ctimeOf(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }
func atimeOf(st *unix.Stat_t) int64    { return st.Atim.Nano() }
