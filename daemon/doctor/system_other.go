//go:build !linux

package doctor

import (
	"errors"
	"os"
	"runtime"
)

// privateMatters: the mode of a directory says who may read it.
const privateMatters = runtime.GOOS != "windows"

// SystemLimits asks the system; this one is not asked.
func SystemLimits() Limits { return Limits{} }

// filesystemType is not known here.
func filesystemType(string) (name string, network bool) { return "", false }

func clone(_, _ *os.File) error { return errors.ErrUnsupported }
