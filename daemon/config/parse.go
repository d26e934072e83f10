package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// document is the file.
type document struct {
	Name         scalar `toml:"name"`
	Listen       scalar `toml:"listen"`
	Advertise    scalar `toml:"advertise"`
	LimitUp      scalar `toml:"limit_up"`
	LimitDown    scalar `toml:"limit_down"`
	LogLevel     scalar `toml:"log_level"`
	LogFormat    scalar `toml:"log_format"`
	ScanInterval scalar `toml:"scan_interval"`
}

// scalar is a value as it is written: text, or a number.
type scalar struct {
	text string
	set  bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *scalar) UnmarshalText(b []byte) error {
	s.text, s.set = string(b), true
	return nil
}

// Parse reads the text of a config.toml. The error names the line.
func Parse(text []byte) (Config, error) {
	var d document
	dec := toml.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return Config{}, explain(err)
	}
	c := Default()
	for _, k := range []struct {
		key  string
		from scalar
		take func(string) error
	}{
		{"name", d.Name, c.takeName},
		{"listen", d.Listen, takeAddress(&c.Listen)},
		{"advertise", d.Advertise, c.takeAdvertise},
		{"limit_up", d.LimitUp, takeRate(&c.LimitUp)},
		{"limit_down", d.LimitDown, takeRate(&c.LimitDown)},
		{"log_level", d.LogLevel, takeOneOf(&c.LogLevel, "debug", "info", "warn", "error")},
		{"log_format", d.LogFormat, takeOneOf(&c.LogFormat, "text", "json")},
		{"scan_interval", d.ScanInterval, c.takeScanInterval},
	} {
		if !k.from.set {
			continue
		}
		if err := k.take(k.from.text); err != nil {
			return Config{}, fmt.Errorf("line %d: %s: %w", lineOf(text, k.key), k.key, err)
		}
	}
	return c, nil
}

// lineOf returns the number of the line that sets key.
func lineOf(text []byte, key string) int {
	at := 0
	for line := range bytes.Lines(text) {
		at++
		left, _, ok := bytes.Cut(line, []byte("="))
		if ok && strings.Trim(string(left), " \t\"'\ufeff") == key {
			return at
		}
	}
	return at
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// Keys returns the keys that a config.toml may have, in the sample's order.
func Keys() []string {
	t := reflect.TypeFor[document]()
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("toml")
	}
	return keys
}

// explain makes one line of what the decoder says, with the place.
func explain(err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		e := strict.Errors[0]
		row, _ := e.Position()
		key := strings.Join(e.Key(), ".")
		if best := nearest(key); best != "" {
			return fmt.Errorf("line %d: there is no key %q; did you mean %q?", row, key, best)
		}
		return fmt.Errorf("line %d: there is no key %q; the keys are %s", row, key, strings.Join(Keys(), ", "))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := e.Position()
		msg := strings.TrimPrefix(e.Error(), "toml: ")
		if key := strings.Join(e.Key(), "."); key != "" {
			return fmt.Errorf("line %d, column %d: %s: %s", row, col, key, msg)
		}
		return fmt.Errorf("line %d, column %d: %s", row, col, msg)
	}
	return err
}

// nearest returns the key that key was most likely meant to be, "" if none is near.
func nearest(key string) string {
	best, at := "", 4 // three slips of the finger
	for _, k := range Keys() {
		plain := strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(key))
		if d := distance(plain, k); d < at && d <= len(k)/2 {
			best, at = k, d
		}
	}
	return best
}

// distance is how many bytes have to be put in, taken out or replaced to make b of
// a (Levenshtein's).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j]+1, last+1)
		}
	}
	return row[len(b)]
}

func (c *Config) takeName(s string) error {
	c.Name = s
	if s == "" {
		return nil
	}
	return id.CheckName(s)
}

func takeAddress(to *string) func(string) error {
	return func(s string) error {
		*to = s
		if s == "" {
			return nil
		}
		host, port, err := net.SplitHostPort(s)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || strings.ContainsFunc(host, unprintable) {
			return fmt.Errorf(`%q is no address: write HOST:PORT with a port from 1 to 65535, such as "0.0.0.0:7417"`, s)
		}
		return nil
	}
}

func (c *Config) takeAdvertise(s string) error {
	if err := takeAddress(&c.Advertise)(s); err != nil || s == "" {
		return err
	}
	if host, _, err := net.SplitHostPort(s); err == nil && unspecified(host) {
		return fmt.Errorf("%q: nobody can dial that; name the address at which the other nodes reach this machine", s)
	}
	return nil
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

func takeRate(to *int64) func(string) error {
	return func(s string) (err error) {
		*to, err = ParseRate(s)
		return err
	}
}

func takeOneOf(to *string, words ...string) func(string) error {
	return func(s string) error {
		*to = s
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf("%q is none of %s", s, strings.Join(words, ", "))
	}
}

// The bounds of a scan's interval: below, scanning would be all that a node does;
// above, what the notices missed would never be found.
const (
	minScan = 10 * time.Second
	maxScan = 7 * 24 * time.Hour
)

func (c *Config) takeScanInterval(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`%q is no time: write such as "90s", "10m" or "1h30m"`, s)
	}
	if d < minScan || d > maxScan {
		return fmt.Errorf("%s is not between %s and %s", d, minScan, maxScan)
	}
	c.ScanInterval = d
	return nil
}
