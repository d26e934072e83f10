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
	before, had := d.WireIn(), int64(0)
	must(t, harness.Until(ctx, "half of the file on d", func() error {
		f, err := d.Folder(ctx, folderName)
		if had = int64(f.WireBytesReceived); err == nil && had < size/2 {
			err = fmt.Errorf("%d of %d bytes", had, size)
		}
		return err
	}))
	must(t, d.Kill())
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
	again, err := d.Folder(ctx, folderName)
	must(t, err)
	got, carried := had+int64(again.WireBytesReceived), d.WireIn()-before
	part := func(n int64) float64 { return float64(n) / float64(size) }
	t.Logf("of the file the writer sent %.2f, the killed reader got %.3f, %.3f before it was killed; %.3f was on its way to it",
		part(int64(f.WireBytesSent)), part(got), part(had), part(carried))
	if int64(f.WireBytesSent) > 2*size {
		t.Errorf("the writer sent %d bytes of a file of %d to three readers", f.WireBytesSent, size)
	}
	// What lies in the buffers of a killed process's connections is lost; the network
	// has carried it all the same.
	if got > size+size/10 || carried > size+size/4 {
		t.Errorf("the reader that was killed got %d bytes of a file of %d, and %d were carried to it", got, size, carried)
	}
}
