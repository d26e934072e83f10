package cli

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// timeLayouts are the written forms of a time. Without a zone it is local time; a
// date alone is its first moment.
var timeLayouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05", "2006-01-02T15:04",
	"2006-01-02 15:04:05", "2006-01-02 15:04",
	"2006-01-02",
}

// parseTime reads a time relative to now, in now's zone: one of timeLayouts, "2h
// ago", "3 days ago", or a day, a time of the day, or both: "yesterday 14:00",
// "monday", "last friday 9am", "nov 23 noon", "14:00". A weekday is the last one
// before today; a time of the day alone the last moment when the clock showed it.
func parseTime(s string, now time.Time) (time.Time, bool) {
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, true
		}
	}
	words := strings.Fields(strings.ToLower(s))
	n := len(words)
	switch {
	case n == 0:
		return time.Time{}, false
	case n == 1 && words[0] == "now":
		return now, true
	case words[n-1] == "ago":
		return parseAgo(words[:n-1], now)
	}
	clock, hasClock := parseClock(words[n-1])
	if hasClock {
		if words = words[:n-1]; len(words) > 1 && words[len(words)-1] == "at" {
			words = words[:len(words)-1]
		}
	}
	if len(words) == 0 {
		t := onDay(now, 0, clock)
		if t.After(now) {
			t = onDay(now, -1, clock)
		}
		return t, true
	}
	day, ok := parseDay(words, now)
	if !ok {
		return time.Time{}, false
	}
	return onDay(day, 0, clock), true
}

// onDay is the time of day clock, days after the day of t: by the calendar, so that
// a day on which the clocks change is right.
func onDay(t time.Time, days int, clock time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d+days, clock.Hour(), clock.Minute(), clock.Second(), 0, t.Location())
}

// parseClock reads a time of the day: 15:04, 15:04:05, 9am, 2:30pm, noon, midnight.
func parseClock(s string) (time.Time, bool) {
	switch s {
	case "noon":
		s = "12:00"
	case "midnight":
		s = "0:00"
	}
	for _, layout := range []string{"15:04", "15:04:05", "3pm", "3:04pm"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseDay reads today, yesterday, a weekday, a date, or a day of a month.
func parseDay(words []string, now time.Time) (time.Time, bool) {
	if len(words) == 2 && words[0] == "last" {
		if d, ok := weekday(words[1]); ok {
			return lastWeekday(d, now), true
		}
		return time.Time{}, false
	}
	if len(words) == 1 {
		switch words[0] {
		case "today":
			return now, true
		case "yesterday":
			return onDay(now, -1, time.Time{}), true
		}
		if d, ok := weekday(words[0]); ok {
			return lastWeekday(d, now), true
		}
		t, err := time.ParseInLocation("2006-01-02", words[0], now.Location())
		return t, err == nil
	}
	s := strings.Join(words, " ")
	for _, layout := range []string{"Jan 2 2006", "2 Jan 2006", "January 2 2006", "2 January 2006"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, true
		}
		t, err := time.ParseInLocation(layout, s+" "+strconv.Itoa(now.Year()), now.Location())
		if err != nil {
			continue
		}
		if t.After(now) {
			t, err = time.ParseInLocation(layout, s+" "+strconv.Itoa(now.Year()-1), now.Location())
		}
		return t, err == nil
	}
	return time.Time{}, false
}

func lastWeekday(d time.Weekday, now time.Time) time.Time {
	back := (int(now.Weekday()) - int(d) + 6) % 7
	return onDay(now, -back-1, time.Time{})
}

// weekday reads a day's name, whole or its first three letters.
func weekday(s string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if name := strings.ToLower(d.String()); s == name || s == name[:3] {
			return d, true
		}
	}
	return 0, false
}

// parseAgo reads what stands before "ago": "2h", "1h30m", "3 days", "an hour",
// "1 year 2 months". Months and years are the calendar's, a day is 24 hours.
func parseAgo(words []string, now time.Time) (time.Time, bool) {
	if len(words) == 1 {
		d, ok := parseAge(words[0])
		return now.Add(-d), ok
	}
	if len(words) == 0 || len(words)%2 != 0 {
		return time.Time{}, false
	}
	t := now
	for i := 0; i < len(words); i += 2 {
		n := 1
		if words[i] != "a" && words[i] != "an" {
			u, err := strconv.ParseUint(words[i], 10, 16)
			if err != nil {
				return time.Time{}, false
			}
			n = int(u)
		}
		switch strings.TrimSuffix(words[i+1], "s") {
		case "second", "sec", "":
			t = t.Add(-time.Duration(n) * time.Second)
		case "minute", "min", "m":
			t = t.Add(-time.Duration(n) * time.Minute)
		case "hour", "hr", "h":
			t = t.Add(-time.Duration(n) * time.Hour)
		case "day", "d":
			t = t.Add(-time.Duration(n) * 24 * time.Hour)
		case "week", "w":
			t = t.Add(-time.Duration(n) * 7 * 24 * time.Hour)
		case "month":
			t = t.AddDate(0, -n, 0)
		case "year", "y":
			t = t.AddDate(-n, 0, 0)
		default:
			return time.Time{}, false
		}
	}
	return t, true
}

// parseAge reads "2h", "1h30m", "3d", "1w".
func parseAge(s string) (time.Duration, bool) {
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(s, "d"):
		unit = 24 * time.Hour
	case strings.HasSuffix(s, "w"):
		unit = 7 * 24 * time.Hour
	default:
		d, err := time.ParseDuration(s)
		return d, err == nil && d >= 0
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 16)
	if err != nil || n > uint64(math.MaxInt64/int64(unit)) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
