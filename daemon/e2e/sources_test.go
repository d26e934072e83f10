package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// Readers of one file share it: the writer sends it about once, however many there
// are. A reader killed half-way pulls again nothing of what it had.
func TestReadersShareAndResume(t *testing.T) {
	size, rate := int64(64<<20), int64(6<<20)
	if os.Getenv("LOCKSTEP_LONG") != "" {
		size, rate = 1<<30, 40<<20
	} else {
		t.Parallel()
	}
	ctx := within(t, 2*time.Minute+time.Duration(size>>20)*500*time.Millisecond)
	c := shared(t, ctx, 4)
	a, d := c.Nodes[0], c.Nodes[3]
	must(t, a.Limit(rate)) // of each connection, so that there is a half-way
	beside := filepath.Join(filepath.Dir(a.Tree), "big")
	must(t, writeRandom(beside, nil, size))
	must(t, os.Rename(beside, at(a, "big")))
	before := d.WireIn()
	must(t, harness.Until(ctx, "half of the file on d", func() error {
		if n := d.WireIn() - before; n < size/2 {
			return fmt.Errorf("%d of %d bytes", n, size)
		}
		return nil
	}))
	must(t, d.Kill())
	had := d.WireIn() - before
	if had > size*9/10 {
		t.Fatalf("d had %d of %d bytes when it was killed: it was not half-way", had, size)
	}
	must(t, d.Start(ctx))
	must(t, harness.Until(ctx, "the file everywhere", func() error {
		for _, n := range c.Nodes {
			if st, err := os.Stat(at(n, "big")); err != nil || st.Size() != size {
				return fmt.Errorf("not on %s", n.Name)
			}
		}
		return nil
	}))
	everywhere(t, ctx, c, a)
	f, err := a.Folder(ctx, folderName)
	must(t, err)
	got := d.WireIn() - before
	t.Logf("the writer sent %.2f times the file, the killed reader got %.3f times the file, %.3f before it was killed",
		float64(f.WireBytesSent)/float64(size), float64(got)/float64(size), float64(had)/float64(size))
	if int64(f.WireBytesSent) > 2*size {
		t.Errorf("the writer sent %d bytes of a file of %d to three readers", f.WireBytesSent, size)
	}
	if got > size+size/10 {
		t.Errorf("the reader that was killed got %d bytes of a file of %d", got, size)
	}
}
