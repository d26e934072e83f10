package cli

import (
	"os"
	"path/filepath"
	"runtime"
)

// home returns the absolute path of the node's directory: --home, else
// $LOCKSTEP_HOME, else below the XDG data directory.
func (a *app) home() (string, error) {
	dir := a.homeFlag
	if dir == "" {
		dir = a.Getenv("LOCKSTEP_HOME")
	}
	if dir == "" {
		base, err := a.dataDir()
		if err != nil {
			return "", err
		}
		return filepath.Join(base, "lockstep"), nil
	}
	if filepath.IsAbs(dir) {
		return filepath.Clean(dir), nil
	}
	wd, err := a.Getwd()
	if err != nil {
		return "", err
	}
	return filepath.Join(wd, dir), nil
}

// dataDir is $XDG_DATA_HOME, else the system's place for such data. The XDG rule
// has relative values ignored.
func (a *app) dataDir() (string, error) {
	if dir := a.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	if runtime.GOOS == "windows" {
		if dir := a.Getenv("LOCALAPPDATA"); dir != "" {
			return dir, nil
		}
	}
	if dir := a.Getenv("HOME"); filepath.IsAbs(dir) {
		if runtime.GOOS == "darwin" {
			return filepath.Join(dir, "Library", "Application Support"), nil
		}
		return filepath.Join(dir, ".local", "share"), nil
	}
	return "", badUsage("no home: $HOME is not set; give --home DIR or set LOCKSTEP_HOME")
}

// hasNode reports whether a home holds a node already: its config is written last,
// so an init or a join that was cut short does not count.
func hasNode(home string) bool {
	_, err := os.Stat(filepath.Join(home, "node.json"))
	return err == nil
}
