package peers

import (
	"slices"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Only who gave something is a source, and only for a while.
func TestSources(t *testing.T) {
	t.Parallel()
	m := &members{}
	a, b, c := start(t, m), start(t, m), start(t, m)
	connected(t, a, b, c)
	want := b.back.put(randoms(10, 100)...)
	f := id.Folder{1}
	if got := a.Sources(f, time.Hour); got != nil {
		t.Errorf("before the pull: %v", got)
	}
	mustPull(t, a, []id.Node{c.id(), b.id()}, want) // c has nothing
	if got := a.Sources(f, time.Hour); !slices.Equal(got, []id.Node{b.id()}) {
		t.Errorf("sources %v, want %v", got, b.id())
	}
	if got := a.Sources(f, 0); got != nil {
		t.Errorf("long after: %v", got)
	}
}
