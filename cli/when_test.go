package cli

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestParseTimeAsPeopleWrite(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 10, 30, 0, 0, zone) // a Monday
	for s, want := range map[string]string{
		"now": "2026-11-23T10:30:00+01:00",
		// Ages.
		"2h ago": "2026-11-23T08:30:00+01:00", "1h30m ago": "2026-11-23T09:00:00+01:00", "3d ago": "2026-11-20T10:30:00+01:00",
		"2 hours ago": "2026-11-23T08:30:00+01:00", "an hour ago": "2026-11-23T09:30:00+01:00", "a day ago": "2026-11-22T10:30:00+01:00",
		"1 week ago": "2026-11-16T10:30:00+01:00", "2 months ago": "2026-09-23T10:30:00+02:00", "1 year 1 day ago": "2025-11-22T10:30:00+01:00",
		"90 seconds ago": "2026-11-23T10:28:30+01:00", "5 min ago": "2026-11-23T10:25:00+01:00", "0s ago": "2026-11-23T10:30:00+01:00",
		// Days.
		"today": "2026-11-23T00:00:00+01:00", "yesterday": "2026-11-22T00:00:00+01:00", "Yesterday 14:00": "2026-11-22T14:00:00+01:00",
		"yesterday at 2pm": "2026-11-22T14:00:00+01:00", "today 9:05": "2026-11-23T09:05:00+01:00", "yesterday noon": "2026-11-22T12:00:00+01:00",
		"yesterday 14:00:30": "2026-11-22T14:00:30+01:00",
		"monday":             "2026-11-16T00:00:00+01:00", "sunday": "2026-11-22T00:00:00+01:00", "tue": "2026-11-17T00:00:00+01:00",
		"last friday 9am": "2026-11-20T09:00:00+01:00", "Saturday 23:59": "2026-11-21T23:59:00+01:00",
		"nov 20": "2026-11-20T00:00:00+01:00", "24 nov": "2025-11-24T00:00:00+01:00", "October 25 2:30pm": "2026-10-25T14:30:00+01:00",
		"2 jan 2025 midnight": "2025-01-02T00:00:00+01:00", "2026-11-20 3pm": "2026-11-20T15:00:00+01:00",
		// The clock alone: the last time it showed that.
		"10:00": "2026-11-23T10:00:00+01:00", "14:00": "2026-11-22T14:00:00+01:00", "noon": "2026-11-22T12:00:00+01:00", "9am": "2026-11-23T09:00:00+01:00",
		// Written out.
		"2026-11-20": "2026-11-20T00:00:00+01:00", "2026-11-20T10:00:00Z": "2026-11-20T11:00:00+01:00", "2026-07-01 08:00": "2026-07-01T08:00:00+02:00",
	} {
		got, ok := parseTime(s, now)
		if !ok || got.In(zone).Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %t, want %s", s, got.In(zone).Format(time.RFC3339), ok, want)
		}
	}
	for _, s := range []string{"", " ", "ago", "x ago", "-2h ago", "2 ago", "2 hours", "3 fortnights ago", "yesterday 25:00", "yesterday tomorrow",
		"last", "last 14:00", "last today", "feb 30", "at 14:00", "monday tuesday", "now 14:00", "99999999 days ago", "13pm", "24:00"} {
		if got, ok := parseTime(s, now); ok {
			t.Errorf("%q is %s, want no time", s, got)
		}
	}
}

// A day on which the clocks change is as long as it is.
func TestYesterdayAcrossAClockChange(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 10, 26, 1, 0, 0, 0, zone) // the day before had 25 hours
	got, _ := parseTime("yesterday 1:00", now)
	if want := time.Date(2026, 10, 25, 1, 0, 0, 0, zone); !got.Equal(want) {
		t.Errorf("%s, want %s", got, want)
	}
	got, _ = parseTime("24h ago", now)
	if want := now.Add(-24 * time.Hour); !got.Equal(want) {
		t.Errorf("%s, want %s", got, want)
	}
}
