package folder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/chunks"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/reconcile"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// survey runs f with a survey of the node's directory, while its engine does not run.
func (n *node) survey(f func(s *Survey, l *local.DB)) {
	n.c.t.Helper()
	l, err := local.Open(filepath.Join(n.home, "local"), local.Options{})
	n.c.ok(err)
	st, err := chunks.Open(chunks.Options{Dir: filepath.Join(n.home, "packs"), KV: l.KV(), Workers: 1})
	n.c.ok(err)
	s, err := NewSurvey(SurveyOptions{ID: n.c.folder, Root: n.root, Machine: n.machine, Local: l, Chunks: st})
	n.c.ok(err)
	f(s, l)
	n.c.ok(s.Close())
	n.c.ok(st.Sync(context.Background()))
	n.c.ok(st.Close())
	n.c.ok(l.Close())
}

// counts runs a survey and checks one of its numbers.
func (s *Survey) counts(t tb, of reconcile.Standing, want int) {
	t.Helper()
	p, err := s.Run(context.Background())
	if err != nil {
		t.Fatalf("survey: %v", err)
	}
	if p.By[of] != want {
		t.Fatalf("%d are %v, want %d: %v", p.By[of], of, want, p.By)
	}
}

// TestOldBytesArePackedBeforeTheyGo: what a returning machine holds of history may be
// the last copy: its bytes are in its packs before the head takes their place.
func TestOldBytesArePackedBeforeTheyGo(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 2)
	t.Cleanup(c.close)
	a, b := c.nodes[0], c.nodes[1]
	a.start()
	old := strings.Repeat("the old version; ", 40<<10) // some chunks
	for _, p := range []string{"f", "g"} {
		a.write(p, old)
	}
	a.write("small", "old")
	a.committed()
	for _, p := range []string{"f", "g"} {
		b.write(p, old)
	}
	b.write("small", "old")
	a.write("f", "new")
	a.write("small", "new")
	a.remove("g")
	a.committed()
	b.caught()
	b.survey(func(s *Survey, l *local.DB) {
		s.counts(t, reconcile.Older, 2)
		n := 0
		c.ok(l.Below(c.folder, "", func(_ id.Path, r local.Row) error {
			if r.File != 0 && !r.Base.IsNone() {
				n++
			}
			return nil
		}))
		if n != 3 {
			t.Errorf("%d records with a place of their bytes, want 3", n)
		}
	})
	b.start()
	b.follows()
	b.has("f", "new")
	b.gone("g")
	v := b.machine.View()
	defer v.Close()
	for _, p := range []id.Path{"f", "small"} {
		was, _, err := v.At(c.folder, p, 1)
		c.ok(err)
		within(t, fmt.Sprintf("the bytes of %s@1 in the packs of the machine that brought them", p), func(ctx context.Context) error {
			for {
				left, err := b.chunks.Unpacked(ctx, fileOf(was.Entry))
				if err != nil || left == 0 || ctx.Err() != nil {
					return err
				}
			}
		})
	}
	c.done()
	c.conflicts(0)
}

// TestSurveyIsUndone: nothing of a survey that was given up is left, and what one
// left that was cut short is dropped by the next.
func TestSurveyIsUndone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir(), 2)
	t.Cleanup(c.close)
	a, b := c.nodes[0], c.nodes[1]
	a.start()
	for i := range 30 {
		a.write(fmt.Sprint("f", i), fmt.Sprint(i))
		b.write(fmt.Sprint("f", i), fmt.Sprint(i))
	}
	a.committed()
	b.caught()
	rows := func(l *local.DB) (n int) {
		c.ok(l.Below(c.folder, "", func(id.Path, local.Row) error { n++; return nil }))
		return n
	}
	b.survey(func(s *Survey, l *local.DB) {
		s.counts(t, reconcile.Equal, 30)
		if n := rows(l); n != 30 {
			t.Errorf("%d records, want 30", n)
		}
	})
	c.ok(os.Remove(b.path("f0"))) // what was recorded before the next begins says nothing
	b.survey(func(s *Survey, l *local.DB) {
		if n := rows(l); n != 0 {
			t.Errorf("%d records of an earlier survey", n)
		}
		s.counts(t, reconcile.Equal, 29)
		c.ok(s.Undo())
		if n := rows(l); n != 0 {
			t.Errorf("%d records after Undo", n)
		}
	})
	b.start()
	c.done()
	c.conflicts(0)
}

// TestEditedWhileItIsAdopted: what the user makes of an old version before the head has
// taken its place is a change of that version: a conflict, and no bytes are lost.
func TestEditedWhileItIsAdopted(t *testing.T) {
	t.Parallel()
	for _, prefer := range []string{"", "cluster", "mine"} {
		t.Run("prefer "+prefer, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, t.TempDir(), 2)
			t.Cleanup(c.close)
			a, b := c.nodes[0], c.nodes[1]
			a.start()
			a.write("f", "1")
			a.write("other", "x")
			a.committed()
			b.write("f", "1")
			a.write("f", "2")
			a.committed()
			b.caught()
			if prefer != "" {
				b.write("f", "mine")
			}
			b.survey(func(s *Survey, _ *local.DB) {
				switch prefer {
				case "":
					s.counts(t, reconcile.Older, 1)
				case "mine":
					s.counts(t, reconcile.Different, 1)
					c.ok(s.PreferMine())
				case "cluster":
					s.counts(t, reconcile.Different, 1)
					changes, err := s.Mine(context.Background(), "kept")
					c.ok(err)
					if len(changes) != 1 || changes[0].Path != "kept/f" {
						t.Errorf("changes %+v", changes)
					}
					c.ok(s.PreferCluster()) // as if history had them
				}
			})
			b.write("f", "edited")
			b.start()
			c.done()
			c.inHistory("edited")
			c.inHistory("2")
			if prefer == "mine" {
				c.conflicts(0)
				b.has("f", "edited")
				return
			}
			c.conflicts(1)
			b.has("f", "2")
		})
	}
}
