package watcher

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}

func TestInbox(t *testing.T) {
	t.Parallel()
	in := newInbox()
	for _, e := range []event{
		{"a", opWrite}, {"a", opWrite}, // says nothing new
		{"b", opCreate}, {"a", opWrite},
		{"a", opGone}, {"a", opCreate}, {"a", opWrite}, // order matters
	} {
		in.event(e)
	}
	got, _, lost := in.take()
	if want := "[{a 0} {b 1} {a 2} {a 1} {a 0}]"; fmt.Sprint(got) != want || lost {
		t.Errorf("took %v, %v, want %s", got, lost, want)
	}
	in.event(event{"a", opWrite})
	if got, _, _ := in.take(); len(got) != 1 {
		t.Errorf("a write after take was dropped")
	}
	for i := range maxEvents + 1 {
		in.event(event{fmt.Sprint(i), opWrite})
	}
	in.call(func(*loop) {})
	if got, calls, lost := in.take(); !lost || len(got) != 0 || len(calls) != 1 {
		t.Errorf("beyond its bound: %d events, %d calls, lost %v", len(got), len(calls), lost)
	}
	if _, _, lost := in.take(); lost {
		t.Error("lost twice")
	}
}

// The table agrees with a plain set, and with the notifier.
func TestTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := newFake(nil)
		root := filepath.FromSlash("/r")
		tab := newTable(root)
		tab.swap(f)
		model := make(map[id.Path]bool)
		paths := rapid.SampledFrom([]id.Path{"", "a", "a/b", "a/b/c", "a/bc", "ab", "b", "b/a"})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				p := paths.Draw(t, "path")
				if err := tab.add(p); err != nil {
					t.Fatal(err)
				}
				model[p] = true
			},
			"drop": func(t *rapid.T) {
				p := paths.Draw(t, "path")
				tab.drop(p)
				maps.DeleteFunc(model, func(q id.Path, _ bool) bool { return q.Within(p) })
			},
			"": func(t *rapid.T) {
				var got []id.Path
				tab.tree.each("", func(p id.Path) { got = append(got, p) })
				slices.Sort(got)
				if want := slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
					t.Fatalf("table has %q, want %q", got, want)
				}
				if n, _ := tab.counts(); n != len(model) || len(f.watched) != n {
					t.Fatalf("counts %d, notifier %d, want %d", n, len(f.watched), len(model))
				}
				for p := range model {
					if got, ok := tab.rel(tab.path(p)); !ok || got != p || !f.watched[tab.path(p)] {
						t.Fatalf("%q is %q, %v", p, got, ok)
					}
				}
			},
		})
	})
	tab := newTable(filepath.FromSlash("/r"))
	for _, name := range []string{"/", "/rr", "/rr/x", "/q", "r/x", "/r/"} {
		if p, ok := tab.rel(filepath.FromSlash(name)); ok {
			t.Errorf("%q is taken for %q", name, p)
		}
	}
}
