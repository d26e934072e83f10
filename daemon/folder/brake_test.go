package folder

import (
	"testing"
	"time"
)

func TestBraked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		deleted, paths int
		want           bool
	}{
		{0, 0, false},
		{1, 1, false},
		{49, 49, false},  // all of a small folder
		{50, 50, true},   // all
		{50, 100, false}, // half is not over half
		{51, 100, true},
		{50, 99, true},
		{5750, 11500, false},
		{5751, 11500, true},
		{11500, 11500, true},
		{60, 1 << 20, false},
	} {
		if got := braked(c.deleted, c.paths, brakeLeast); got != c.want {
			t.Errorf("%d of %d: held %v, want %v", c.deleted, c.paths, got, c.want)
		}
	}
}

// Whatever would be held is counted first, and so is every way there in parts.
func TestWorthCounting(t *testing.T) {
	t.Parallel()
	for deleted := range 300 {
		for paths := deleted; paths < 800; paths++ {
			if braked(deleted, paths, brakeLeast) && !worthCounting(deleted, paths, brakeLeast) {
				t.Fatalf("%d of %d would be held and is not counted", deleted, paths)
			}
		}
	}
	if worthCounting(49, 49, brakeLeast) || worthCounting(60, 100000, brakeLeast) || !worthCounting(5000, 100000, brakeLeast) {
		t.Error("the thresholds of counting have changed")
	}
}

func TestRecently(t *testing.T) {
	t.Parallel()
	var r recently
	t0 := time.Unix(1000, 0)
	r.add(t0, 0)
	r.add(t0, 3)
	r.add(t0.Add(6*time.Second), 4)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{6 * time.Second, 7}, {brakeWindow, 7}, {brakeWindow + 1, 4}, {time.Minute, 0}} {
		if got := r.sum(t0.Add(c.after)); got != c.want {
			t.Errorf("after %s: %d, want %d", c.after, got, c.want)
		}
	}
}

func TestMayBeMore(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		counted time.Duration // ago; 0 is never
		took    time.Duration
		behind  int
		want    bool
	}{
		{0, 0, 0, true}, // the first since the start
		{time.Hour, time.Millisecond, brakeBehind - 1, false},
		{time.Hour, time.Millisecond, brakeBehind, true},
		{time.Second, 10 * time.Millisecond, brakeBehind, true},
		{time.Second, time.Second, brakeBehind, false}, // a folder of a million
		{brakeRest * time.Second, time.Second, brakeBehind, true},
	} {
		b := brake{took: c.took}
		if c.counted != 0 {
			b.counted = now.Add(-c.counted)
		}
		if got := b.mayBeMore(now, c.behind); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
