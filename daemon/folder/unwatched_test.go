package folder

import (
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/watcher"
)

// TestUnwatched: what is below a directory that cannot be read waits for that, and not
// for its writer.
func TestUnwatched(t *testing.T) {
	t.Parallel()
	blocked := []watcher.BlockedPath{{Path: "shut", Reason: "permission denied"}, {Path: "shut/x", Reason: "odd"}}
	for p, want := range map[id.Path]string{
		"shut": "permission denied", "shut/a": "shut above it is blocked: permission denied", "shut/x": "odd",
		"shut/x/y": "shut/x above it is blocked: odd", "shutter": "", "a": "",
	} {
		if got := unwatched(p, blocked); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
}
