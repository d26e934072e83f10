package folder

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// A small file that comes while a large one of another commit is being received does
// not wait for it, and what was received of the large one is not received again.
func TestSmallCommitOvertakes(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"a first sync": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, t.TempDir(), 2)
			t.Cleanup(c.close)
			a, b := c.nodes[0], c.nodes[1]
			a.start()
			a.write("old", "old")
			a.committed()
			const size = 40 << 20 // some windows of a pull
			b.gate, b.gated = make(chan struct{}), make(chan struct{}, 1)
			b.gateFrom, b.gateLeast = 32<<20, 1<<20
			b.hasty = 8 << 20
			if !first {
				b.start()
				b.follows()
			}
			film := make([]byte, size)
			rng := rand.NewChaCha8([32]byte{1})
			_, _ = rng.Read(film)
			a.write("film", string(film))
			// The small stages of the same plan are known too.
			a.write("film.txt", "about the film")
			a.committed()
			if first {
				b.caught()
				b.start()
			}
			<-b.gated
			for i := range 3 {
				p := fmt.Sprintf("note%d", i)
				a.write(p, "small")
				a.committed()
				eventually(t, p+" to overtake", func() error {
					_, err := os.Stat(b.path(p))
					return err
				})
			}
			if _, err := os.Stat(b.path("film")); err == nil {
				t.Fatal("the large file was not held")
			}
			close(b.gate)
			c.settled()
			if got, err := os.ReadFile(b.path("film")); err != nil || !bytes.Equal(got, film) {
				t.Errorf("the large file has %d bytes, %v", len(got), err)
			}
			if got := b.pulled.Load(); got > size+size/8 {
				t.Errorf("%d bytes were received for a file of %d", got, size)
			}
		})
	}
}

// What touches the same first component as what is being received waits for it, or a
// commit would be torn apart.
func TestLinkedCommitDoesNotOvertake(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	a := c.nodes[0]
	for _, p := range []string{"d/film", "e/x", "d/note"} {
		a.write(p, "x")
		a.committed()
	}
	first := c.head().Revision - 2
	for _, x := range []struct {
		linked string
		from   int
		free   bool
	}{
		{"/d", 0, true}, {"/d", 1, false}, {"/e", 0, true}, {"/e", 1, true}, {"/f", 0, true},
	} {
		free, head, err := a.engine.unlinked(first+id.Revision(x.from), map[string]bool{x.linked: true})
		if err != nil || free != x.free || !free && head != c.head().Revision {
			t.Errorf("%s from %d: %v at %d, %v", x.linked, x.from, free, head, err)
		}
	}
}

// Small changes that took long themselves, over a slow link say, do not make the large
// stage after them go on for ten times as long.
func TestLeastTimeOfALargeStage(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, x := range []struct {
		name              string
		pass, spent, want time.Duration
	}{
		{"at once", 0, 0, overtakeAfter},
		{"a long look at what there is", 2 * time.Second, 0, 20 * time.Second},
		{"four seconds of small files", 4 * time.Second, 4 * time.Second, 4 * time.Second},
		{"both", 5 * time.Second, 4 * time.Second, 10 * time.Second},
	} {
		h := haste{after: overtakeAfter, share: prepareShare, begun: now.Add(-x.pass), spent: x.spent}
		if got := h.leastTime(now); got != x.want {
			t.Errorf("%s: %v, want %v", x.name, got, x.want)
		}
	}
}
