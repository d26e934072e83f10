//go:build !linux

package harness

const canTellProcesses = false

func processUsage(int) (Usage, error) { return Usage{}, ErrUnsupported }

func socketOwner(int, []int) (int, error) { return 0, ErrUnsupported }
