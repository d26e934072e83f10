package demo

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control/harness"
)

// places are the paths of the tree that the steps work on.
type places struct {
	edited, removed, fought string // files
	dir, newDir             string // a directory with files, and its new name
}

// seed makes the demo's own tree the same in each run.
const seed = 20261123

// ownTree makes a small tree with one of each thing that is synced.
func ownTree(root string) error {
	rnd := rand.New(rand.NewPCG(seed, 0))
	old := time.Date(2025, 3, 14, 15, 9, 26, 535897932, time.UTC)
	put := func(name string, mode os.FileMode, content []byte) error {
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, content, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(p, mode); err != nil {
			return err
		}
		return os.Chtimes(p, old, old.Add(time.Duration(rnd.Int64N(int64(time.Hour)))))
	}
	text := func(words int) []byte {
		var b bytes.Buffer
		for i := range words {
			fmt.Fprintf(&b, "%s%c", []string{"one", "folder", "three", "disks", "history", "commit"}[rnd.IntN(6)], " \n"[min(i%12/11, 1)])
		}
		return b.Bytes()
	}
	for i := range 40 {
		if err := put(fmt.Sprintf("notes/2026/%02d.txt", i), 0o644, text(50+rnd.IntN(400))); err != nil {
			return err
		}
	}
	big := make([]byte, 3<<20+17) // many chunks
	for i := range big {
		big[i] = byte(rnd.Uint32())
	}
	for name, f := range map[string]struct {
		mode    os.FileMode
		content []byte
	}{
		"README.md":              {0o644, []byte("# A small tree\n\nMade by `lockstep demo`.\n")},
		"bin/run.sh":             {0o755, []byte("#!/bin/sh\necho run\n")},
		"photos/sea.raw":         {0o644, big},
		"photos/album/cover.raw": {0o640, big[:200_000]},
		"empty.txt":              {0o644, nil},
		"private/key":            {0o600, text(20)},
		"names/ä ö ü 日本.txt":     {0o644, text(10)},
	} {
		if err := put(name, f.mode, f.content); err != nil {
			return err
		}
	}
	if err := os.Symlink("notes/2026/00.txt", filepath.Join(root, "newest")); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(root, "empty directory"), 0o755)
}

// choose picks the paths for the steps from a tree: small files that can be
// written, in directories that can be changed. What it lacks is made.
func choose(root string, t harness.Tree) (places, bool, error) {
	files := t.Find(func(p string, e harness.Entry) bool {
		return e.Kind == "file" && e.Size < 1<<20 && e.Mode&0o200 != 0 && writable(t, path.Dir(p))
	})
	dirs := t.Find(func(p string, e harness.Entry) bool {
		return e.Kind == "dir" && e.Mode&0o200 != 0 && !strings.Contains(p, "/")
	})
	// The directory with the most files is the best to see renamed.
	sort.SliceStable(dirs, func(i, j int) bool { return below(files, dirs[i]) > below(files, dirs[j]) })
	made := false
	make1 := func(p string) error {
		made = true
		full := filepath.Join(root, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		return os.WriteFile(full, []byte("made by lockstep demo\n"), 0o644)
	}
	if len(dirs) == 0 || below(files, dirs[0]) == 0 {
		if err := make1("lockstep-demo-dir/in.txt"); err != nil {
			return places{}, false, err
		}
		dirs = []string{"lockstep-demo-dir"}
	}
	pl := places{dir: dirs[0], newDir: dirs[0] + " (renamed)"}
	var outside []string // the steps' files stay where they are when the directory moves
	for _, f := range files {
		if !strings.HasPrefix(f, pl.dir+"/") {
			outside = append(outside, f)
		}
	}
	for i := 0; len(outside) < 3; i++ {
		p := fmt.Sprintf("lockstep-demo-%d.txt", i)
		if err := make1(p); err != nil {
			return places{}, false, err
		}
		outside = append(outside, p)
	}
	pl.edited, pl.removed, pl.fought = outside[0], outside[1], outside[2]
	return pl, made, nil
}

func writable(t harness.Tree, dir string) bool {
	return dir == "." || (t[dir].Mode&0o200 != 0 && writable(t, path.Dir(dir)))
}

func below(files []string, dir string) (n int) {
	for _, f := range files {
		if strings.HasPrefix(f, dir+"/") {
			n++
		}
	}
	return n
}
