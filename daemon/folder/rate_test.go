package folder

import (
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1_000_000, 700_000_000)
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	var r rate
	r.add(t0, 1000)
	if got := r.perSecond(at(60)); got != 0 {
		t.Errorf("before its start: %d", got)
	}
	r.start(t0)
	r.add(at(0.1), 1<<30) // what lay in buffers
	for i := range 100 {
		r.add(at(float64(i)/10+0.3), 100)
		now := at(float64(i)/10 + 0.35)
		switch got := r.perSecond(now); {
		case now.Unix()-t0.Unix() < rateFirst+1 && got != 0:
			t.Errorf("%s after the start: %d, too soon", now.Sub(t0), got)
		case now.Unix()-t0.Unix() >= rateFirst+1 && (got < 990 || got > 1010):
			t.Errorf("%s after the start: %d, want 1000", now.Sub(t0), got)
		}
	}
	if got := r.perSecond(at(16)); got >= 1000 || got == 0 {
		t.Errorf("half of the window is silent: %d", got)
	}
	if got := r.perSecond(at(1e6)); got != 0 {
		t.Errorf("long after: %d", got)
	}
	r.add(at(1e6+1), 50)
	if got := r.perSecond(at(1e6 + 2)); got != 5 {
		t.Errorf("again: %d, want 5", got)
	}
	r.start(at(2e6))
	if got := r.perSecond(at(2e6 + 9)); got != 0 {
		t.Errorf("a new start: %d", got)
	}
}
