// Package config reads config.toml, the settings of one node that a person may
// change: strictly, for a misspelt key that is passed over is a setting that
// its author believes in.
package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lockstep-sync/lockstep/internal/atomicfile"
)

// FileName is the file's name in a node's home.
const FileName = "config.toml"

// maxFile bounds the file in bytes: the sample has 2,000.
const maxFile = 1 << 20

// Config is what config.toml says, and the defaults where it says nothing. Text
// that is empty leaves the choice to the node.
type Config struct {
	// Name of the node in its cluster.
	Name string
	// Listen and Advertise are HOST:PORT.
	Listen, Advertise string
	// LimitUp and LimitDown are in bytes per second for the whole node; 0 is none.
	LimitUp, LimitDown int64
	// LogLevel is debug, info, warn or error; LogFormat text or json.
	LogLevel, LogFormat string
	// ScanInterval is the shortest time between two timed scans of a folder.
	ScanInterval time.Duration
}

// Default returns the settings of a node without a config.toml.
func Default() Config {
	return Config{LogLevel: "info", LogFormat: "text", ScanInterval: 5 * time.Minute}
}

//go:embed sample.toml
var sample string

// Sample returns a config.toml that explains every key and sets none.
func Sample() string { return sample }

// Path returns where a home's config.toml is.
func Path(home string) string { return filepath.Join(home, FileName) }

// Load reads the settings of a home: the defaults where it has no config.toml.
// The error names the file, the line, and what to write instead.
func Load(home string) (Config, error) {
	path := Path(home)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the settings: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the settings: %w", err)
	}
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("read the settings %s: the file is longer than %d bytes", path, maxFile)
	}
	c, err := Parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("read the settings %s: %w", path, err)
	}
	return c, nil
}

// WriteSample puts the sample into a home that has no config.toml yet.
func WriteSample(home string) error {
	path := Path(home)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := atomicfile.Write(path, []byte(sample), 0o600); err != nil {
		return fmt.Errorf("write the sample of settings: %w", err)
	}
	return nil
}
