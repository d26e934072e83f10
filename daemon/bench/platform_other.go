//go:build !linux

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"time"
)

func changed(fs.FileInfo) time.Time { return time.Time{} }
func descendants(int) []int         { return nil }
func procUsage(int) (usage, error)  { return usage{}, errors.ErrUnsupported }
func loBytes() (int64, error)       { return 0, errors.ErrUnsupported }
func canIsolate() error             { return errors.New("without Linux") }
func isolate([]string) *exec.Cmd    { return nil }
func enter() error                  { return errors.ErrUnsupported }
func trim(string) error             { return nil }
func reflink(_, _ *os.File) error   { return errors.ErrUnsupported }
func syncFS(string) error           { return exec.Command("sync").Run() }
func apart(*exec.Cmd)               {}
func killAll(cmd *exec.Cmd)         { _ = cmd.Process.Kill() }

func mountImage(string, string, int64) (func() error, error) {
	return nil, errors.ErrUnsupported
}
