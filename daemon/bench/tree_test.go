package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fixture makes a small tree, and a second root equal to it.
func fixture(t *testing.T) (a, b string, want tree) {
	t.Helper()
	for _, root := range []*string{&a, &b} {
		*root = t.TempDir()
		write(t, filepath.Join(*root, "d", "f"), "one")
		write(t, filepath.Join(*root, "g"), "two")
		write(t, filepath.Join(*root, ".lockstep", "marker"), *root)
	}
	want, _, _, err := snapshot(a)
	must(t, err)
	return a, b, want
}

func write(t *testing.T, p, s string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(t, os.WriteFile(p, []byte(s), 0o644))
	must(t, os.Chtimes(p, time.Unix(1e9, 1), time.Unix(1e9, 1)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, root string){
		"content": func(t *testing.T, r string) { write(t, filepath.Join(r, "g"), "owt") },
		"mtime":   func(t *testing.T, r string) { must(t, os.Chtimes(filepath.Join(r, "g"), time.Now(), time.Now())) },
		"mode":    func(t *testing.T, r string) { must(t, os.Chmod(filepath.Join(r, "g"), 0o400)) },
		"missing": func(t *testing.T, r string) { must(t, os.Remove(filepath.Join(r, "d", "f"))) },
		"many":    func(t *testing.T, r string) { write(t, filepath.Join(r, "h"), "") },
		"kind": func(t *testing.T, r string) {
			must(t, os.Remove(filepath.Join(r, "g")))
			must(t, os.Mkdir(filepath.Join(r, "g"), 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, b, want := fixture(t)
			have, _, _, err := snapshot(b)
			must(t, err)
			must(t, compare(want, have, leave{}))
			change(t, b)
			have, _, _, err = snapshot(b)
			must(t, err)
			if err := compare(want, have, leave{}); !errors.Is(err, errDiffers) || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
			if err := compare(want, have, leave{mtimes: true}); (err == nil) != (name == "mtime") {
				t.Errorf("without mtimes: %v", err)
			}
		})
	}
}

func TestEquate(t *testing.T) {
	t.Parallel()
	want := entry{mtime: 5_000_999}
	for have, equal := range map[int64]bool{5_000_999: true, 4_999_100: true, 5_002_500: true, 4_998_900: false, 5_003_000: false} {
		if got := (leave{round: 2 * time.Microsecond}).equate(want, entry{mtime: have}) == want; got != equal {
			t.Errorf("%d: %v", have, got)
		}
	}
}

func TestWatchSeesEachPathOnce(t *testing.T) {
	t.Parallel()
	_, b, want := fixture(t)
	must(t, os.Rename(filepath.Join(b, "g"), filepath.Join(b, "old")))
	w := newWatch(b, want, []string{"old"}, leave{})
	if w.seen() || w.order[w.next] != "g" {
		t.Fatalf("at %d of %q", w.next, w.order)
	}
	write(t, filepath.Join(b, "g"), "eno") // a watch takes sizes and times for it; verify reads
	if w.seen() || w.next != len(w.order) {
		t.Fatal("what should have gone is still there")
	}
	must(t, os.Remove(filepath.Join(b, "old")))
	if !w.seen() {
		t.Fatal("all is there")
	}
	if _, err := verify(time.Now(), want, leave{}, b); !errors.Is(err, errDiffers) {
		t.Errorf("another content: %v", err)
	}
}

// What changes after all has been seen counts, and a directory that changes then does not.
func TestVerifyTakesTheTimeFromTheTree(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: change times are read on Linux only")
	}
	a, b, want := fixture(t)
	long := time.Unix(2e9, 0)
	done, err := verify(long, want, leave{}, a, b)
	must(t, err)
	if d := time.Since(done); d < 0 || d > time.Hour {
		t.Errorf("done %s", done)
	}
	seen := done.Add(-time.Hour)
	if late, err := verify(seen, want, leave{}, a, b); err != nil || late.Before(done.Add(-time.Minute)) {
		t.Errorf("files changed after %s: %s, %v", seen, late, err)
	}
}

func TestArriveEndsWithItsReason(t *testing.T) {
	t.Parallel()
	a, b, want := fixture(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := arrive(ctx, newWatch(a, want, nil, leave{}), newWatch(b, want, nil, leave{}))
	must(t, err)
	cancel(errOver)
	if _, err := arrive(ctx, newWatch(a, tree{"x": {}}, nil, leave{})); !errors.Is(err, errOver) || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("got %v", err)
	}
}

func TestBelow(t *testing.T) {
	t.Parallel()
	got := tree{"f": {size: 1}}.below("d", 0o700)
	if len(got) != 2 || got["d"] != (entry{kind: fs.ModeDir, mode: 0o700}) || got["d/f"].size != 1 {
		t.Errorf("got %v", got)
	}
}
