//go:build !linux

package docs

import (
	"errors"
	"os/exec"
)

func terminalOutput(*exec.Cmd) ([]byte, error) { return nil, errors.ErrUnsupported }
