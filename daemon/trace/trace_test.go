package trace

import (
	"fmt"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestBounded(t *testing.T) {
	l := New()
	for i := range 3 * maxPaths {
		for range 2 * maxSteps {
			l.Mark(id.Path(fmt.Sprint(i)), OnDisk)
		}
	}
	if n := len(l.steps); n > maxPaths {
		t.Errorf("%d paths are remembered, want at most %d", n, maxPaths)
	}
	if n := len(l.Steps(id.Path(fmt.Sprint(3*maxPaths - 1)))); n != maxSteps {
		t.Errorf("the newest path has %d steps, want %d", n, maxSteps)
	}
	if s := l.Steps("0"); len(s) != 0 {
		t.Errorf("the oldest path still has %d steps", len(s))
	}
}

func TestNilLog(t *testing.T) {
	var l *Log
	l.Mark("a", Event)
	if s := l.Steps("a"); s != nil {
		t.Errorf("got %v", s)
	}
}
