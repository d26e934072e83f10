package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// minRate is the smallest limit in bytes per second: below it a single chunk would
// take longer than the other side waits.
const minRate = 1 << 10

// units of a rate, in bytes per second.
var units = map[string]float64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
	"kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8,
}

// ParseRate reads a number of bytes per second: "0" (no limit), "2 MiB/s",
// "500 kB/s", "20 Mbit/s"; a number alone is bytes.
func ParseRate(s string) (int64, error) {
	text := strings.TrimSpace(s)
	i := strings.LastIndexAny(text, "0123456789.") + 1
	unit := strings.ToLower(strings.ReplaceAll(text[i:], " ", ""))
	factor, ok := units[strings.TrimSuffix(unit, "/s")]
	n, err := strconv.ParseFloat(text[:i], 64)
	if err != nil || !ok || strings.ContainsAny(text[:i], "+-xXeEpP_") {
		return 0, fmt.Errorf(`%q is no rate: write such as "500 KiB/s", "2 MiB/s" or "20 Mbit/s", or "0" for no limit`, s)
	}
	v := math.Round(n * factor)
	switch {
	case v == 0 && n == 0:
		return 0, nil
	case v < minRate:
		return 0, fmt.Errorf(`%q is less than 1 KiB/s; "0" is no limit`, s)
	case v > math.MaxInt64/2:
		return 0, fmt.Errorf(`%q is too much; "0" is no limit`, s)
	}
	return int64(v), nil
}

// FormatRate is what ParseRate reads: in the largest unit that loses nothing.
func FormatRate(n int64) string {
	if n == 0 {
		return "0"
	}
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n%u.size == 0 {
			return fmt.Sprintf("%d %s/s", n/u.size, u.name)
		}
	}
	return strconv.FormatInt(n, 10) + " B/s"
}
