package control_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// TestNodesThatStartTogether: sockets of homes with long paths are made in one
// directory; nodes that start at the same time are not in each other's way.
func TestNodesThatStartTogether(t *testing.T) {
	t.Parallel()
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	var all sync.WaitGroup
	for i := range 32 {
		h := filepath.Join(long, fmt.Sprint(i))
		if err := os.MkdirAll(h, 0o700); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			l, err := control.Listen(h)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = l.Close() })
			if st, err := os.Stat(control.SocketPath(h)); err != nil || st.Mode().Type() != os.ModeSocket {
				t.Errorf("no socket: %v", err)
			}
		})
	}
	all.Wait()
}
